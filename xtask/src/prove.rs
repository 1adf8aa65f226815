//! `cargo xtask prove`: the long counts, for which `cargo xtask test` has no time, recorded in
//! `bench/results/`.
//!
//! Tests with a count take it from `USHER_COUNT`; without it they take a thousandth or so. A test
//! that only makes sense in a proof looks at `USHER_PROVE`. After them the leak probe runs over
//! HTTP, beside its baseline.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::child::{self, Watched, cargo};
use crate::test::Tally;
use crate::{bench, workspace};

/// Runs of tests with a count.
const COUNT: u64 = 100_000;
/// Requests of the leak probe.
const PROBES: u64 = 1_000_000;
/// All tests together, in seconds.
const TESTS_MAX_S: u64 = 6 * 60 * 60;

/// What `cargo xtask prove` is asked for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs of tests with a count.
    #[arg(long, default_value_t = COUNT)]
    count: u64,
    /// Requests of the leak probe.
    #[arg(long, default_value_t = PROBES)]
    probes: u64,
    /// Only tests whose name contains this, and no leak probe.
    #[arg(long)]
    only: Option<String>,
}

/// Runs and records the proof; fails if anything in it does.
pub(crate) fn run(args: &Args) -> Result<()> {
    child::end_all_on_signal()?;
    let (tally, seconds) = tests(args)?;
    println!("{tally}");
    ensure!(tally.all_well(), "there are tests that did not pass");
    if args.only.is_none() {
        record(args.count, &tally, seconds)?;
        bench::prove_leaks(args.probes)?;
    }
    Ok(())
}

fn tests(args: &Args) -> Result<(Tally, f64)> {
    let mut command = Command::new(cargo());
    command
        .args([
            "test",
            "--release",
            "--locked",
            "--workspace",
            "--no-fail-fast",
            "--",
        ])
        .args(&args.only)
        .env("USHER_PROVE", "1")
        .env("USHER_COUNT", args.count.to_string())
        .current_dir(workspace::root());
    let mut tally = Tally::default();
    let begun = Instant::now();
    let limit = Duration::from_secs(TESTS_MAX_S);
    Watched::start("tests", &mut command)?.finish(limit, |line| {
        tally.read(line);
        let told = ["test ", "error", "thread "]
            .iter()
            .any(|word| line.starts_with(word));
        if told && !line.ends_with("... ok") {
            println!("{line}");
        }
    })?;
    Ok((tally, begun.elapsed().as_secs_f64()))
}

fn record(count: u64, tally: &Tally, seconds: f64) -> Result<()> {
    let folder = workspace::root().join("bench/results");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join("prove.json");
    let proof = serde_json::json!({"count": count, "tests": tally.to_string(), "seconds": seconds});
    let text = serde_json::to_string_pretty(&proof)? + "\n";
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

//! `cargo xtask test`: all that has to hold before a change is good; what continuous integration
//! runs.
//!
//! ```text
//! format → tidy → audit → clippy → guests → peers → build → tests → N passed, N failed
//! ```
//!
//! Cheap steps come first, and a failed one does not stop the next, so that one run tells
//! everything; only without a build there are no tests. Product, tests and benchmarks share one
//! profile, so wasmtime is compiled once for all of them, and once more, without code, for clippy.
//! Each step's whole output is in `target/xtask/`.

mod step;
mod tally;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Result;

use crate::child::{self, cargo};
use crate::{audit, tidy};
use step::Steps;
pub(crate) use tally::Tally;

/// Building guests, clippy and the product from nothing, each; in seconds.
const BUILD_MAX_S: u64 = 45 * 60;
/// All tests together, in seconds.
const TESTS_MAX_S: u64 = 45 * 60;

/// What `cargo xtask test` is asked for.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build no guests in JavaScript and Python; tests that need them then tell what is missing.
    #[arg(long)]
    fast: bool,
}

/// Runs all steps; the code tells whether all went well.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    child::end_all_on_signal()?;
    let build = Duration::from_secs(BUILD_MAX_S);
    let mut steps = Steps::begin()?;
    steps.command("format", cargo_with(&["fmt", "--all", "--check"]), build);
    steps.here("tidy", || tidy::run(&tidy::Args::default()));
    steps.here("audit", audit::run);
    let clippy = [
        "clippy",
        "--release",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    steps.command("clippy", cargo_with(&clippy), build);
    steps.command("guests", guests(args.fast)?, build);
    steps.command("peers", chore("peers")?, build);
    let built = ["build", "--release", "--locked", "--workspace"];
    let mut tally = Tally::default();
    if steps.command("build", cargo_with(&built), build) {
        let tests = [
            "test",
            "--release",
            "--locked",
            "--workspace",
            "--no-fail-fast",
        ];
        let limit = Duration::from_secs(TESTS_MAX_S);
        steps.command_read("tests", cargo_with(&tests), limit, |line| tally.read(line));
    }
    let all_well = steps.finish() && tally.all_well();
    // The last line, so that nobody has to search for it.
    println!("{tally}");
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn cargo_with(args: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command
        .args(args)
        .env("CARGO_TERM_COLOR", "never")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
        .current_dir(crate::workspace::root());
    command
}

/// One of this program's own chores, as a step with its own output and time limit.
fn chore(name: &str) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).current_dir(crate::workspace::root());
    Ok(command)
}

fn guests(fast: bool) -> Result<Command> {
    let mut command = chore("examples")?;
    if fast {
        command.args(["--only", "rust,c,wat"]);
    }
    Ok(command)
}

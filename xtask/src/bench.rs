//! `cargo xtask bench NAME`: ours and the baselines in turn, in one run, on one machine.
//!
//! What counts is a ratio. Goals are constants beside the rows (`versus`, `swap`, `faults`,
//! `probe`), so that a reader sees what falls short; a goal that is missed is a result, not a
//! failure of the chore. It fails when something could not be measured.
//!
//! ```text
//! stage (builds, peers, functions) → servers → rounds in turn → rows → report
//! ```

mod client;
mod faults;
mod load;
pub(crate) mod peer;
mod probe;
mod report;
mod row;
mod server;
mod stage;
mod swap;
mod versus;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::child;
use report::Machine;
use row::Row;
use server::Programs;

/// Fewer rounds show no spread.
const ROUNDS_MIN: u32 = 5;
/// A round, and the warming before the first one, in milliseconds.
const ROUND_MS: u64 = 2_000;
const WARM_MS: u64 = 1_000;
/// The same in a quick run, which ends within 50 s.
const QUICK_ROUND_MS: u64 = 250;
const QUICK_WARM_MS: u64 = 250;
/// Requests of the leak probe; a proof takes more.
const PROBES: u64 = 10_000;
const QUICK_PROBES: u64 = 1_000;
/// Rows that a quick run leaves out, for time.
const NOT_QUICK: [&str; 1] = ["W4"];

/// Which benchmark.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Components, with a clean environment for every request.
    Wasm(Args),
}

/// How it is measured.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Short rounds, fewer rows, nothing recorded: ends within 50 s once all is built.
    #[arg(long)]
    quick: bool,
    /// Write the rows to this file too, as an array.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only these rows, such as W1,W8.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = ROUNDS_MIN)]
    rounds: u32,
    /// Measure this build of the platform instead of building it.
    #[arg(long, value_name = "PATH")]
    usher: Option<PathBuf>,
}

/// What is to be measured, and how long.
pub(crate) struct Plan {
    quick: bool,
    rows: Vec<String>,
    rounds: u32,
    round: Duration,
    warm: Duration,
    probes: u64,
}

impl Plan {
    fn of(args: &Args) -> Self {
        let (round, warm, probes) = if args.quick {
            (QUICK_ROUND_MS, QUICK_WARM_MS, QUICK_PROBES)
        } else {
            (ROUND_MS, WARM_MS, PROBES)
        };
        Self {
            quick: args.quick,
            rows: args.rows.clone(),
            rounds: args.rounds.max(1),
            round: Duration::from_millis(round),
            warm: Duration::from_millis(warm),
            probes,
        }
    }

    /// Whether a row is to be measured: asked for by name, or by nothing at all.
    fn wants(&self, id: &str) -> bool {
        match self.rows.is_empty() {
            true => !(self.quick && NOT_QUICK.contains(&id)),
            false => self.rows.iter().any(|row| row == id),
        }
    }
}

/// A part of a benchmark: some rows.
type Measure = fn(&Plan, &Programs) -> Result<Vec<Row>>;

/// Measures, shows and records.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let Bench::Wasm(args) = bench;
    child::end_all_on_signal()?;
    let plan = Plan::of(args);
    let programs = stage::programs(args.usher.as_deref())?;
    let begun = Instant::now();
    let rows = wasm(&plan, &programs);
    println!("\n{}", report::table(&rows));
    for row in &rows {
        if let Some(note) = &row.note {
            println!("{} {}: {note}", row.id, row.metric);
        }
    }
    println!("measured in {:.0} s", begun.elapsed().as_secs_f64());
    if let Some(path) = &args.json {
        report::write_rows(path, &rows)?;
    }
    let missing: Vec<&str> = (rows.iter().filter(|row| row.is_missing()))
        .map(|row| row.id.as_str())
        .collect();
    ensure!(
        missing.is_empty(),
        "could not be measured: {}",
        missing.join(", ")
    );
    if !plan.quick && plan.rows.is_empty() {
        let machine = Machine::here(version(&programs));
        println!(
            "recorded in {}",
            report::record("wasm", &machine, &rows)?.display()
        );
        report::publish("wasm", &machine, &rows)?;
    }
    Ok(())
}

/// Every planned row; one that could not be measured says why.
fn wasm(plan: &Plan, programs: &Programs) -> Vec<Row> {
    let mut rows = versus::measure(plan, programs);
    let parts: [(&str, Measure); 3] = [
        (swap::ID, swap::measure),
        (faults::ID, faults::measure),
        (probe::ID, probe::measure),
    ];
    for (id, measure) in parts.into_iter().filter(|(id, _)| plan.wants(id)) {
        match measure(plan, programs) {
            Ok(measured) => rows.extend(measured),
            Err(error) => rows.push(Row::missing(id, &error)),
        }
    }
    rows
}

/// The leak probe alone, with as many requests as a proof takes.
pub(crate) fn prove_leaks(probes: u64) -> Result<()> {
    let plan = Plan {
        quick: false,
        rows: vec![probe::ID.to_owned()],
        rounds: ROUNDS_MIN,
        round: Duration::from_millis(ROUND_MS),
        warm: Duration::from_millis(WARM_MS),
        probes,
    };
    let programs = stage::programs(None)?;
    let rows = probe::measure(&plan, &programs)?;
    println!("\n{}", report::table(&rows));
    let machine = Machine::here(version(&programs));
    println!(
        "recorded in {}",
        report::record("leaks", &machine, &rows)?.display()
    );
    let held = rows.iter().all(|row| row.held != Some(false));
    ensure!(held, "the probe's rows do not hold");
    Ok(())
}

fn version(programs: &Programs) -> String {
    let output = Command::new(&programs.wasmtime).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "wasmtime".to_owned())
}

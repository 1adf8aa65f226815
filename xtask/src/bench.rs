//! `cargo xtask bench NAME`: ours and the baselines in turn, in one run, on one machine.
//!
//! What counts is a ratio. Goals are constants beside the rows (in `wasm` and `process`), so that a
//! reader sees what falls short; a goal that is missed is a result, not a failure of the chore. It
//! fails when something could not be measured.
//!
//! ```text
//! stage (builds, peers, programs) → servers → rounds in turn → rows → report
//! ```

mod client;
mod ledger;
mod load;
mod metrics;
pub(crate) mod peer;
mod process;
mod report;
mod row;
mod server;
mod stage;
mod turns;
mod wasm;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::child;
use report::Machine;
use row::Row;
pub(crate) use wasm::prove_leaks;

/// Fewer rounds show no spread.
const ROUNDS_MIN: u32 = 5;
/// A round, and the warming before the first one, in milliseconds.
const ROUND_MS: u64 = 2_000;
const WARM_MS: u64 = 1_000;
/// The same in a quick run, which ends within 50 s.
const QUICK_ROUND_MS: u64 = 250;
const QUICK_WARM_MS: u64 = 250;
/// How long a round may become for a server that is slow to answer, in milliseconds.
const ROUND_MAX_MS: u64 = 8_000;
const QUICK_ROUND_MAX_MS: u64 = 800;
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
    /// Linux programs, with a process of its own for every request or kept.
    Process(Args),
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
#[derive(Clone)]
pub(crate) struct Plan {
    quick: bool,
    rows: Vec<String>,
    rounds: u32,
    round: Duration,
    round_max: Duration,
    warm: Duration,
    probes: u64,
}

impl Plan {
    fn of(args: &Args) -> Self {
        let (round, round_max, warm, probes) = match args.quick {
            true => (
                QUICK_ROUND_MS,
                QUICK_ROUND_MAX_MS,
                QUICK_WARM_MS,
                QUICK_PROBES,
            ),
            false => (ROUND_MS, ROUND_MAX_MS, WARM_MS, PROBES),
        };
        Self {
            quick: args.quick,
            rows: args.rows.clone(),
            rounds: args.rounds.max(1),
            round: Duration::from_millis(round),
            round_max: Duration::from_millis(round_max),
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

/// Measures what `bench` names, shows and records.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    child::end_all_on_signal()?;
    match bench {
        Bench::Wasm(args) => wasm::run(args),
        Bench::Process(args) => process::run(args),
    }
}

/// Measures the planned rows, shows them, and records what was measured whole.
fn finish(
    name: &str,
    args: &Args,
    machine: &Machine,
    measure: impl FnOnce(&Plan) -> Vec<Row>,
) -> Result<()> {
    let plan = Plan::of(args);
    let begun = Instant::now();
    let rows = measure(&plan);
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
        println!(
            "recorded in {}",
            report::record(name, machine, &rows)?.display()
        );
        report::publish(name, machine, &rows)?;
    }
    Ok(())
}

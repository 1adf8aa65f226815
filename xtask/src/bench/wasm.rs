//! `cargo xtask bench wasm`: components, with a clean environment for every request.

mod faults;
mod kind;
mod many;
mod probe;
mod ready;
mod stage;
mod start;
mod swap;
mod throughput;
mod versus;

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::report::{self, Machine};
use super::row::Row;
use super::{Args, Plan, ROUND_MAX_MS, ROUND_MS, ROUNDS_MIN, WARM_MS, finish};
use kind::Programs;

/// The name of this benchmark.
const NAME: &str = "wasm";

/// A part of the benchmark: some rows.
type Measure = fn(&Plan, &Programs) -> Result<Vec<Row>>;

/// Measures, shows and records.
pub(super) fn run(args: &Args) -> Result<()> {
    let programs = stage::programs(args.usher.as_deref())?;
    let machine = Machine::here(version(&programs));
    finish(NAME, args, &machine, |plan| measure(plan, &programs))
}

/// Every planned row; one that could not be measured says why.
fn measure(plan: &Plan, programs: &Programs) -> Vec<Row> {
    let mut rows = versus::measure(plan, programs);
    let parts: [(&str, Measure); 6] = [
        (swap::ID, swap::measure),
        (faults::ID, faults::measure),
        (throughput::ID, throughput::measure),
        (many::ID, many::measure),
        (start::ID, start::measure),
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
        round_max: Duration::from_millis(ROUND_MAX_MS),
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

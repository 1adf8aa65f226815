//! Row W10: requests per second of the engine alone, each in a clean area, with two threads over
//! one.
//!
//! Measured inside of the engine by `usher bench engine COMPONENT --json`, which prints an object
//! for each number of threads with `threads` and the `requests_per_s` of its rounds, taken in turn.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Deserialize;

use super::super::Plan;
use super::super::row::{Figure, Goal, Row};
use super::kind::Programs;
use super::stage;
use crate::child::Watched;

/// The row.
pub(crate) const ID: &str = "W10";
/// Two threads over one.
const GOAL: f64 = 1.85;
/// What is measured.
const FUNCTION: &str = "rust-hello";
/// Beyond the rounds themselves, in seconds: the component is compiled.
const SPARE_S: u64 = 120;

#[derive(Debug, Deserialize)]
struct Told {
    threads: usize,
    requests_per_s: Vec<f64>,
}

/// Asks the platform's binary.
pub(crate) fn measure(plan: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    println!("-- {FUNCTION}, the engine alone");
    let function = stage::function(programs, FUNCTION)?;
    let mut command = Command::new(&programs.built.usher);
    command
        .args(["bench", "engine", "--json", "--threads", "1,2", "--rounds"])
        .arg(plan.rounds.to_string())
        .arg("--round-ms")
        .arg(plan.round.as_millis().to_string())
        .arg(&function.component);
    let limit = plan.round * 2 * plan.rounds + Duration::from_secs(SPARE_S);
    let mut told = Vec::new();
    let mut said = String::new();
    let status = Watched::start("usher bench engine", &mut command)?.finish(limit, |line| {
        said.push_str(line);
        said.push('\n');
        told.extend(serde_json::from_str::<Told>(line));
    })?;
    ensure!(
        status.success(),
        "usher bench engine failed ({status}):\n{said}"
    );
    Ok(vec![row(&told)])
}

fn row(told: &[Told]) -> Row {
    let of = |threads| {
        let rounds = told.iter().filter(|told| told.threads == threads);
        Figure::of(rounds.flat_map(|told| told.requests_per_s.iter().copied()))
    };
    let metric = format!("{FUNCTION}, the engine alone, two threads");
    Row::new(ID, metric, "requests/s")
        .ours(of(2))
        .baseline("the same, one thread", of(1))
        .judged(Goal::TimesAtLeast(GOAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_are_judged_over_one() {
        let told = |threads, rate| Told {
            threads,
            requests_per_s: vec![rate],
        };
        let held = row(&[told(1, 100.0), told(2, 190.0)]);
        assert_eq!((held.ratio, held.held), (Some(1.9), Some(true)));
        assert_eq!(row(&[told(1, 100.0)]).held, Some(false));
    }
}

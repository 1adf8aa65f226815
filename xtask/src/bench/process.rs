//! `cargo xtask bench process`: Linux programs behind the platform, beside the same programs
//! without it, and beside what else gives every request a process of its own.
//!
//! With `isolation = "request"` the platform puts the process back after each request.

mod arm;
mod audits;
mod clean;
mod filling;
mod front;
mod latency;
mod launch;
mod memory;
mod platform;
mod program;
mod proof;
mod renewals;
mod stage;
mod start;
mod versus;
mod work;

use std::time::{Duration, Instant};

use anyhow::Result;

use super::report::Machine;
use super::row::Row;
use super::{Args, Plan, finish};
use program::Program;
use stage::Stage;

/// The name of this benchmark.
const NAME: &str = "process";

/// A round, and the warming before the first one, in milliseconds: here are more servers and
/// programs than in other benchmarks.
const ROUND_MS: u64 = 1_500;
const WARM_MS: u64 = 700;
/// The same of a quick run. Warmed for a shorter time, Node would still be compiling what it runs.
const QUICK_ROUND_MS: u64 = 150;
const QUICK_WARM_MS: u64 = 300;
/// Rounds of it at most, and how long one may become, in milliseconds: a process for each request
/// takes that long.
const QUICK_ROUNDS_MAX: u32 = 3;
const QUICK_ROUND_MAX_MS: u64 = 2_000;
/// Programs of a quick run's rows.
const QUICK: [(&str, &[Program]); 7] = [
    (latency::ID, &[Program::Python]),
    (versus::IDS[0], &Program::ALL),
    (renewals::ID, &[Program::C, Program::Python, Program::Node]),
    (start::ID, &[Program::Python, Program::Node]),
    (memory::ID, &[Program::Python, Program::Node]),
    (clean::ID, &[Program::Python, Program::PythonLambda]),
    (audits::ID, &[Program::Python]),
];

/// A part of the benchmark: rows of one program.
type Measure = fn(&Plan, &Stage, Program) -> Result<Vec<Row>>;

/// Measures, shows and records.
pub(super) fn run(args: &Args) -> Result<()> {
    let stage = Stage::prepare(args.usher.as_deref())?;
    let machine = Machine::here(stage.versions());
    finish(NAME, args, &machine, |plan| measure(plan, &stage))
}

/// Every planned row; one that could not be measured says why.
fn measure(plan: &Plan, stage: &Stage) -> Vec<Row> {
    let mut plan = plan.clone();
    plan.round = Duration::from_millis(ROUND_MS);
    plan.warm = Duration::from_millis(WARM_MS);
    if plan.quick {
        plan.round = Duration::from_millis(QUICK_ROUND_MS);
        plan.warm = Duration::from_millis(QUICK_WARM_MS);
        plan.rounds = plan.rounds.min(QUICK_ROUNDS_MAX);
        plan.round_max = Duration::from_millis(QUICK_ROUND_MAX_MS);
    }
    let parts: [(&[&str], Measure); 7] = [
        (&[latency::ID], latency::measure),
        (&versus::IDS, versus::measure),
        (&[renewals::ID], renewals::measure),
        (&[start::ID], start::measure),
        (&[memory::ID], memory::measure),
        (&[clean::ID], clean::measure),
        (&[audits::ID], audits::measure),
    ];
    let mut rows = Vec::new();
    for (ids, measure) in parts {
        if !ids.iter().any(|id| plan.wants(id)) {
            continue;
        }
        for program in Program::ALL {
            let quick = QUICK
                .iter()
                .any(|(part, programs)| ids.contains(part) && programs.contains(&program));
            if plan.quick && !quick {
                continue;
            }
            println!("-- {}, {}", ids.join(", "), program.name());
            let begun = Instant::now();
            match measure(&plan, stage, program) {
                Ok(measured) => rows.extend(measured),
                Err(error) => rows.push(Row::missing(ids[0], &error.context(program.name()))),
            }
            println!("   measured in {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    rows.retain(|row| plan.wants(&row.id));
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    rows
}

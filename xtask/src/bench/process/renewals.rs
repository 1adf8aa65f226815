//! Row P3: what a put-back takes, as the platform says with each answer. It counts from the reply's
//! end until the program can take the next request, its own answer to the hook included; how long
//! of that it was stopped, no figure of the platform's tells.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::arm::Arm;
use super::launch::Launch;
use super::platform::Told;
use super::program::Program;
use super::proof::field;
use super::stage::Stage;

/// The row.
pub(super) const ID: &str = "P3";
/// Requests, one after the other, of which each finds an environment that was renewed.
const RENEWED: u32 = 500;
const QUICK_RENEWED: u32 = 100;
/// Requests before them: enough for both ways to have been tried, and a twin to have been started.
const BEFORE: u32 = 100;
/// Microseconds of a put-back of CPython's, in the middle; what the slow ones may be over that.
const GOAL_US: f64 = 150.0;
const GOAL_LATE: f64 = 2.5;
/// How an environment is renewed that cannot be put back.
const REPLACED: &str = "replaced";

/// What renewals took, in microseconds, by how they were made.
type Renewed = BTreeMap<String, Vec<f64>>;

/// Asks ours one request after the other.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    let count = if plan.quick { QUICK_RENEWED } else { RENEWED };
    let runtime = runtime()?;
    let launch = Launch::plain(stage, program);
    let server = Told::renewed().start(&launch, Arm::Ours.name(), &[])?;
    renewed_us(&runtime, &server, BEFORE)?;
    let renewed = renewed_us(&runtime, &server, count)?;
    Ok(rows(program, renewed))
}

/// The way that most put-backs went is the platform's choice, and judged; the others were tried.
fn rows(program: Program, renewed: Renewed) -> Vec<Row> {
    let chosen = (renewed.iter())
        .filter(|(renewal, _)| *renewal != REPLACED)
        .max_by_key(|(_, took)| took.len())
        .map(|(renewal, _)| renewal.clone());
    let all: usize = renewed.values().map(Vec::len).sum();
    let mut rows = Vec::new();
    for (renewal, mut sorted) in renewed {
        sorted.sort_by(f64::total_cmp);
        let row = |what: &str, figure| {
            let metric = format!(
                "{}, renewed {renewal}, its answer included, {what}",
                program.name()
            );
            Row::new(ID, metric, "µs").ours(figure)
        };
        let middle = Figure::of(sorted.iter().copied());
        let p50 = row("p50", middle);
        if chosen.as_ref() != Some(&renewal) {
            rows.push(p50.noted(format!("{} of {all} renewals", sorted.len())));
            continue;
        }
        let back = sorted.len() / 100 + 1;
        let late = sorted.len().checked_sub(back).map(|at| sorted[at]);
        let p99 = row("p99", late.and_then(|late| Figure::of([late]))).baseline("p50", middle);
        rows.extend(match program {
            Program::Python => [
                p50.judged(Goal::AtMost(GOAL_US)),
                p99.judged(Goal::TimesAtMost(GOAL_LATE)),
            ],
            _ => [p50, p99],
        });
    }
    rows
}

/// What each renewal took before so many requests, one after the other, in microseconds, by how it
/// was made.
pub(super) fn renewed_us(runtime: &Runtime, server: &Server, count: u32) -> Result<Renewed> {
    let mut all = Renewed::new();
    let http = Http::new();
    for _ in 0..count {
        let answer = runtime.block_on(http.get(&server.url("/")))?;
        let run = answer.run.unwrap_or_default();
        if let (Some(renewal @ (REPLACED | "in-place" | "swap")), Some(renew)) =
            (field(&run, "renewal"), field(&run, "renew_us"))
        {
            let took = renew.parse().with_context(|| format!("usher-run: {run}"))?;
            all.entry(renewal.to_owned()).or_default().push(took);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_way_that_the_platform_goes_is_judged() {
        let renewed = |replaced: usize| {
            Renewed::from([
                ("in-place".to_owned(), vec![120.0; 90]),
                (REPLACED.to_owned(), vec![9_000.0; replaced]),
                ("swap".to_owned(), vec![700.0; 4]),
            ])
        };
        for replaced in [0, 200] {
            let rows = rows(Program::Python, renewed(replaced));
            let judged = rows.iter().filter(|row| row.goal.is_some());
            let judged: Vec<_> = judged.map(|row| (row.ours, row.held)).collect();
            assert_eq!(judged, [(Some(120.0), Some(true)); 2]);
        }
        assert!(
            rows(Program::Node, renewed(0))
                .iter()
                .all(|row| row.goal.is_none())
        );
    }
}

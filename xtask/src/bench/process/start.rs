//! Rows P3 and P6: what a new environment takes, by what the platform says of it, and until its
//! first reply as a client sees it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::row::{Figure, Row};
use super::super::server::Server;
use super::arm::Arm;
use super::launch::Launch;
use super::metrics::Metrics;
use super::program::Program;
use super::stage::Stage;

/// The rows.
pub(super) const IDS: [&str; 2] = ["P6", "P3"];
/// Requests, one after the other, of which each finds an environment that was renewed.
const RENEWED: u32 = 200;
const QUICK_RENEWED: u32 = 50;
/// A quick run starts each program so often.
const QUICK_STARTS: u32 = 2;

/// What ours showed.
#[derive(Default)]
struct Ours {
    /// From request to first byte, of a function without an environment, in milliseconds.
    first_ms: Vec<f64>,
    /// How the platform says that it came by those environments.
    starts: Vec<String>,
    /// What each renewal took, in microseconds, by how it was made.
    renew_us: BTreeMap<String, Vec<f64>>,
    /// Milliseconds of each phase.
    phases: BTreeMap<String, f64>,
}

/// Measures ours beside the bare program's start.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    let times = if plan.quick {
        QUICK_STARTS
    } else {
        plan.rounds
    };
    let renewed = if plan.quick { QUICK_RENEWED } else { RENEWED };
    let runtime = runtime()?;
    let mut bare = Vec::new();
    let mut ours = Ok(Ours::default());
    stage.program(program)?;
    for _ in 0..times {
        bare.push(milliseconds(bare_start(stage, program)?));
        ours = ours.and_then(|so_far| first_reply(&runtime, stage, program, so_far));
    }
    ours = ours.and_then(|so_far| renewals(&runtime, stage, program, renewed, so_far));
    Ok(rows(program, Figure::of(bare), ours))
}

fn rows(program: Program, bare: Option<Figure>, ours: Result<Ours>) -> Vec<Row> {
    let name = program.name();
    let (ours, why) = match ours {
        Ok(ours) => (ours, None),
        Err(error) => (Ours::default(), Some(format!("not measured: {error:#}"))),
    };
    let first = Row::new(
        "P6",
        format!("{name}, first reply of a cold function"),
        "ms",
    )
    .ours(Figure::of(ours.first_ms))
    .baseline("bare start to first reply", bare);
    let warm = ours.starts.iter().filter(|start| *start != "cold").count();
    let mut rows = vec![match why {
        Some(why) => first.noted(why).unmeasured(),
        None if warm > 0 => {
            first.noted(format!("{warm} were not cold: {}", ours.starts.join(", ")))
        }
        None => first.headline(),
    }];
    for (phase, ms) in ours.phases {
        let metric = format!("{name}, start, {phase}");
        rows.push(Row::new("P6", metric, "ms").ours(Figure::of([ms])));
    }
    for (renewal, mut sorted) in ours.renew_us {
        sorted.sort_by(f64::total_cmp);
        let middle = Figure::of(sorted.iter().copied());
        // Of some fifty, the largest but one stands for what one in a hundred exceeds.
        let back = (sorted.len() / 100).max(2);
        let late = sorted.len().checked_sub(back).map(|at| sorted[at]);
        if let (Some(middle), Some(late)) = (middle, late) {
            let row = |what: &str, figure| {
                let metric = format!("{name}, renewed {renewal}, its answer included, {what}");
                Row::new("P3", metric, "µs").ours(figure)
            };
            rows.push(row("p50", Some(middle)));
            rows.push(row("p99", Figure::of([late])));
        }
    }
    rows
}

/// From nothing to the first reply, without a platform.
fn bare_start(stage: &Stage, program: Program) -> Result<Duration> {
    let begun = Instant::now();
    let copies = Launch::plain(stage, program).copies(1)?;
    let server = Server::of(Arm::Bare.name(), copies.parts, copies.address);
    let _server = server.until_it_answers()?;
    Ok(begun.elapsed())
}

/// A platform that was never asked is asked once.
fn first_reply(runtime: &Runtime, stage: &Stage, program: Program, mut ours: Ours) -> Result<Ours> {
    let server = Arm::Ours.ours(&Launch::plain(stage, program), 0)?;
    // What deploying started is no part of the first request.
    server.rest();
    let answer = runtime.block_on(Http::closing().get(&server.url("/")))?;
    ours.first_ms.push(milliseconds(answer.first_byte));
    let run = answer.run.unwrap_or_default();
    ours.starts
        .push(field(&run, "start").unwrap_or("not said").to_owned());
    Ok(ours)
}

fn renewals(
    runtime: &Runtime,
    stage: &Stage,
    program: Program,
    count: u32,
    mut ours: Ours,
) -> Result<Ours> {
    let server = Arm::Ours.ours(&Launch::plain(stage, program), 0)?;
    let http = Http::new();
    for _ in 0..count {
        let answer = runtime.block_on(http.get(&server.url("/")))?;
        let run = answer.run.unwrap_or_default();
        if let (Some(renewal @ ("replaced" | "in-place" | "swap")), Some(renew)) =
            (field(&run, "renewal"), field(&run, "renew_us"))
        {
            let took = renew.parse().with_context(|| format!("usher-run: {run}"))?;
            ours.renew_us
                .entry(renewal.to_owned())
                .or_default()
                .push(took);
        }
    }
    ours.phases = Metrics::read(runtime, &server)?.phases();
    Ok(ours)
}

/// A field of `usher-run`.
fn field<'a>(run: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = run
        .split(',')
        .filter_map(|field| field.trim().split_once('='));
    fields.find_map(|(key, value)| (key == name).then_some(value))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_proof_are_found() {
        let run = "env=7, area=14, gen=3, start=cold, renewal=replaced, renew_us=20";
        assert_eq!(field(run, "start"), Some("cold"));
        assert_eq!(field(run, "renew_us"), Some("20"));
        assert_eq!(field(run, "renew"), None);
    }

    #[test]
    fn a_start_that_was_not_cold_is_told() {
        let row = |start: &str| {
            let ours = Ours {
                first_ms: vec![5.0],
                starts: vec![start.to_owned()],
                ..Ours::default()
            };
            rows(Program::C, None, Ok(ours)).remove(0)
        };
        assert_eq!(row("cold").note, None);
        assert!(row("warm").note.is_some());
    }
}

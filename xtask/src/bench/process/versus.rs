//! Rows P1, P2, P4 and P5: throughput and latency of one program by every arm, in turn, over the
//! work of its handler, the memory that it changes, and the number of connections.
//!
//! Work is a number of steps, the same for every arm, that takes so many milliseconds in the bare
//! program: what an arm makes slower is seen.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::row::{Figure, Goal, Latency, Row};
use super::super::server::Server;
use super::super::turns::{self, Measured, Servers};
use super::arm::Arm;
use super::program::Program;
use super::stage::Stage;

/// The rows.
pub(super) const IDS: [&str; 4] = ["P2", "P1", "P4", "P5"];
/// Latency over never restored, 5 ms of work, one connection.
const GOAL_P50: f64 = 1.01;
/// Throughput over never restored by work, with the official Lambda clients.
const GOALS: [(u32, f64); 4] = [(0, 0.5), (1, 0.75), (5, 0.95), (20, 0.98)];
/// Over fork per request from a warm parent without work, and with 100 MiB of imports.
const GOAL_FORK: f64 = 3.0;
const GOAL_FORK_BIG: f64 = 20.0;
/// Over a process per request without work, by language.
const GOAL_CGI_PYTHON: f64 = 20.0;
const GOAL_CGI_NODE: f64 = 100.0;
/// The work at which latencies are compared, in milliseconds.
const LATENCY_WORK_MS: u32 = 5;
/// Memory that a handler changes, in KiB.
const DIRTY_KIB: [u32; 3] = [64, 1 << 10, 16 << 10];
/// Connections of the rows.
const CONNECTIONS: u32 = 16;
/// Steps by which it is found out how many a millisecond takes, and how often they are taken: often
/// enough for a compiler to have done its work.
const TRIAL_STEPS: u32 = 20_000;
const TRIALS: u32 = 40;
/// Figures of the whole machine beyond this many times the server's, and this many microseconds,
/// are told.
const UNSEEN_TIMES: f64 = 1.3;
const UNSEEN_US: f64 = 50.0;

/// One measurement: how much work, a byte of each page of how much memory changed, how many
/// connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    work_ms: u32,
    dirty_kib: u32,
    connections: u32,
}

/// Ours over a baseline.
struct Pair {
    id: &'static str,
    ours: Arm,
    baseline: Arm,
}

const fn pair(id: &'static str, ours: Arm, baseline: Arm) -> Pair {
    Pair { id, ours, baseline }
}

const PAIRS: [Pair; 5] = [
    pair("P2", Arm::OursKept, Arm::Bare),
    pair("P2", Arm::OursKept, Arm::Copies),
    pair("P2", Arm::Ours, Arm::OursKept),
    pair("P4", Arm::Ours, Arm::Zygote),
    pair("P5", Arm::Ours, Arm::Cgi),
];

/// Measures one program by all its arms.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    stage.program(program)?;
    let mut servers: Servers<Arm> = (Arm::ALL.into_iter())
        .filter(|arm| arm.runs(program) && is_wanted(plan, program, *arm))
        .map(|arm| {
            let started = arm.start(stage, program);
            (arm, started.map_err(|error| format!("{error:#}")))
        })
        .collect();
    let mut rows: Vec<Row> = (servers.iter())
        .filter(|(arm, _)| arm.is_ours())
        .filter_map(|(arm, server)| Some((arm, server.as_ref().err()?)))
        .map(|(arm, why)| {
            let what = format!("{}, {}", program.name(), arm.name());
            Row::new("P2", what, "not measured").noted(why).unmeasured()
        })
        .collect();
    let steps = match servers.get(&Arm::Bare) {
        Some(Ok(bare)) => steps_per_ms(bare)?,
        Some(Err(why)) => bail!("{why}"),
        None => 0.0,
    };
    for cell in cells(plan, program) {
        let path = match (cell.work_ms, cell.dirty_kib) {
            (0, 0) => "/".to_owned(),
            (0, kib) => format!("/?dirty={}", u64::from(kib) << 10),
            (ms, _) => format!("/?work={:.0}", steps * f64::from(ms)),
        };
        let takes_part = |arm| takes_part(plan, arm, cell);
        let measured = turns::rounds(plan, &mut servers, takes_part, &path, cell.connections);
        rows.extend(rows_of(program, cell, &measured));
    }
    Ok(rows)
}

/// The bare program takes part wherever there is work: it says what a millisecond of it is.
fn is_wanted(plan: &Plan, program: Program, arm: Arm) -> bool {
    if program == Program::PythonBig {
        return plan.wants("P4") && matches!(arm, Arm::Ours | Arm::Zygote);
    }
    if plan.quick && arm == Arm::Copies {
        return false;
    }
    let is_of = |pair: &&Pair| pair.ours == arm || pair.baseline == arm;
    let mut ids = PAIRS.iter().filter(is_of).map(|pair| pair.id);
    let latency = plan.wants("P1") && matches!(arm, Arm::Ours | Arm::OursKept);
    arm == Arm::Bare || latency || ids.any(|id| plan.wants(id))
}

fn cells(plan: &Plan, program: Program) -> Vec<Cell> {
    let cell = |work_ms, connections| Cell {
        work_ms,
        dirty_kib: 0,
        connections,
    };
    let plain = cell(0, CONNECTIONS);
    let latency = cell(LATENCY_WORK_MS, 1);
    let dirty = |dirty_kib| Cell { dirty_kib, ..plain };
    match program {
        Program::PythonBig => vec![plain],
        Program::Python if plan.quick => vec![plain, latency],
        _ if plan.quick => vec![plain],
        _ => {
            let works = GOALS.map(|(work_ms, _)| cell(work_ms, CONNECTIONS));
            let alone = [cell(0, 1), latency];
            works
                .into_iter()
                .chain(alone)
                .chain(DIRTY_KIB.map(dirty))
                .collect()
        }
    }
}

/// What starts a process on the way is measured where its price is seen.
fn takes_part(plan: &Plan, arm: Arm, cell: Cell) -> bool {
    match arm {
        Arm::Zygote | Arm::Cgi if plan.quick => cell.work_ms == 0,
        Arm::Zygote | Arm::Cgi => cell.work_ms == 0 || cell.work_ms == LATENCY_WORK_MS,
        _ => true,
    }
}

/// How many steps of work the bare program does in a millisecond.
fn steps_per_ms(bare: &Server) -> Result<f64> {
    let http = Http::new();
    let runtime = runtime()?;
    let fastest = |path: &str| -> Result<Duration> {
        let mut fastest = Duration::MAX;
        for _ in 0..TRIALS {
            let answer = runtime.block_on(http.get(&bare.url(path)))?;
            fastest = fastest.min(answer.first_byte);
        }
        Ok(fastest)
    };
    let nothing = fastest("/")?;
    // Long enough to be told apart from a request without work, in any language.
    let mut steps = TRIAL_STEPS;
    loop {
        let took = fastest(&format!("/?work={steps}"))?.saturating_sub(nothing);
        if took >= Duration::from_millis(1) {
            return Ok(f64::from(steps) / (took.as_secs_f64() * 1e3));
        }
        steps = steps.checked_mul(4).context("work takes no time")?;
    }
}

fn rows_of(program: Program, cell: Cell, measured: &BTreeMap<Arm, Measured>) -> Vec<Row> {
    let there = |arm: Arm| measured.get(&arm).is_some_and(Result::is_ok);
    let mut rows = Vec::new();
    for pair in PAIRS {
        let (ours, baseline) = (pair.ours, pair.baseline);
        let asked = measured.contains_key(&ours) && measured.contains_key(&baseline);
        if asked && (there(ours) || !baseline.is_ours()) {
            let row = throughput(&pair, program, cell, measured);
            // What is wrong with ours is told once, by a row of its own.
            rows.push(if there(baseline) {
                row
            } else {
                row.unmeasured()
            });
        }
        let latency = cell.work_ms == LATENCY_WORK_MS && cell.connections == 1;
        if latency && pair.id == "P2" && there(ours) && there(baseline) {
            rows.extend(latencies(&pair, program, measured));
        }
    }
    rows
}

fn throughput(
    pair: &Pair,
    program: Program,
    cell: Cell,
    measured: &BTreeMap<Arm, Measured>,
) -> Row {
    let metric = format!("{}, {}", program.name(), words(cell));
    let named = |arm: Arm| (arm, arm.name());
    let latency = |arm| {
        let of = |of| turns::figure(measured, arm, of);
        Some(Latency {
            p50_us: of(|sample| sample.p50_us)?.median,
            p99_us: of(|sample| sample.p99_us)?.median,
        })
    };
    let (ours, baseline) = (named(pair.ours), named(pair.baseline));
    let mut row = turns::row(pair.id, metric, measured, ours, baseline)
        .latency(latency(pair.ours), latency(pair.baseline));
    let unseen = [ours, baseline].map(|(arm, name)| unseen(measured.get(&arm), name));
    let notes = row
        .note
        .take()
        .into_iter()
        .chain(unseen.into_iter().flatten());
    let notes: Vec<String> = notes.collect();
    if !notes.is_empty() {
        row.note = Some(notes.join("; "));
    }
    let plain = cell.connections == CONNECTIONS && cell.dirty_kib == 0;
    match goal(pair, program, cell.work_ms) {
        Some(goal) if plain && row.ours.is_some() => row.judged(Goal::TimesAtLeast(goal)),
        _ if cell.work_ms == 0 && plain => row.headline(),
        _ => row,
    }
}

/// How many times the baseline ours is to be, where anything is asked for.
fn goal(pair: &Pair, program: Program, work_ms: u32) -> Option<f64> {
    let by_work = || GOALS.iter().find(|(work, _)| *work == work_ms);
    match (pair.id, pair.baseline, program) {
        ("P2", Arm::OursKept, lambda) if lambda.is_lambda() => by_work().map(|(_, goal)| *goal),
        ("P4", _, Program::Python) if work_ms == 0 => Some(GOAL_FORK),
        ("P4", _, Program::PythonBig) if work_ms == 0 => Some(GOAL_FORK_BIG),
        ("P5", _, Program::Python) if work_ms == 0 => Some(GOAL_CGI_PYTHON),
        ("P5", _, Program::Node) if work_ms == 0 => Some(GOAL_CGI_NODE),
        _ => None,
    }
}

fn latencies(pair: &Pair, program: Program, measured: &BTreeMap<Arm, Measured>) -> [Row; 2] {
    let row = |name: &str, of| {
        let metric = format!(
            "{}, {LATENCY_WORK_MS} ms of work, 1 connection, {name}, {}",
            program.name(),
            pair.ours.name()
        );
        let figure = |arm| -> Option<Figure> { turns::figure(measured, arm, of) };
        Row::new("P1", metric, "µs")
            .ours(figure(pair.ours))
            .baseline(pair.baseline.name(), figure(pair.baseline))
    };
    let p50 = row("p50", |sample| sample.p50_us);
    let p99 = row("p99", |sample| sample.p99_us);
    match pair.baseline {
        // Only what keeps the process on the same road was never restored and nothing else.
        Arm::OursKept => [p50.judged(Goal::TimesAtMost(GOAL_P50)), p99],
        _ => [p50, p99],
    }
}

/// What the machine did beside the processes that are known to be the server's.
fn unseen(measured: Option<&Measured>, name: &str) -> Option<String> {
    let samples = measured?.as_ref().ok()?;
    let of = |of: fn(&_) -> f64| Figure::of(samples.iter().map(of)).map(|it| it.median);
    let (own, all) = (of(|it| it.cpu_us)?, of(|it| it.machine_us)?);
    (all > own * UNSEEN_TIMES + UNSEEN_US)
        .then(|| format!("{name}: {own:.0} µs of processor time per request, the machine {all:.0}"))
}

fn words(cell: Cell) -> String {
    let work = match (cell.work_ms, cell.dirty_kib) {
        (0, 0) => "no work".to_owned(),
        (0, kib) => format!("{kib} KiB changed"),
        (ms, _) => format!("{ms} ms of work"),
    };
    match cell.connections {
        1 => format!("{work}, 1 connection"),
        many => format!("{work}, {many} connections"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::super::load::Sample;
    use super::*;

    const PLAIN: Cell = Cell {
        work_ms: 0,
        dirty_kib: 0,
        connections: CONNECTIONS,
    };

    fn at(rps: f64) -> Measured {
        let sample = Sample {
            rps,
            p50_us: 1e6 / rps,
            ..Sample::default()
        };
        Ok(vec![sample; 3])
    }

    #[test]
    fn a_program_is_compared_by_what_was_measured() {
        let gone = || Err("gone".to_owned());
        let measured = BTreeMap::from([
            (Arm::Bare, at(100.0)),
            (Arm::OursKept, gone()),
            (Arm::Ours, gone()),
            (Arm::Cgi, at(10.0)),
        ]);
        let rows = rows_of(Program::Node, PLAIN, &measured);
        let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
        // Nothing of ours is there, but the baselines are shown.
        assert_eq!(ids, ["P2", "P5"]);
        assert_eq!((rows[0].ours, rows[0].baseline), (None, Some(100.0)));
        assert!(
            rows.iter()
                .all(|row| row.goal.is_none() && !row.is_missing())
        );
        assert_eq!(rows[0].note.as_deref(), Some("usher, isolation none: gone"));
    }

    #[test]
    fn lambda_functions_that_are_renewed_are_judged_by_their_work() {
        let measured = BTreeMap::from([(Arm::OursKept, at(100.0)), (Arm::Ours, at(74.0))]);
        let row = |work_ms| {
            let cell = Cell { work_ms, ..PLAIN };
            rows_of(Program::NodeLambda, cell, &measured).pop().unwrap()
        };
        assert_eq!((row(0).goal, row(0).held), (Some(0.5), Some(true)));
        assert_eq!((row(1).goal, row(1).held), (Some(0.75), Some(false)));
    }

    #[test]
    fn latency_is_judged_over_what_is_never_restored() {
        let measured = BTreeMap::from([
            (Arm::Bare, at(150.0)),
            (Arm::OursKept, at(150.0)),
            (Arm::Ours, at(100.0)),
        ]);
        let cell = Cell {
            work_ms: LATENCY_WORK_MS,
            connections: 1,
            ..PLAIN
        };
        let rows = rows_of(Program::Python, cell, &measured);
        let judged: Vec<_> = rows
            .iter()
            .filter(|row| row.id == "P1" && row.goal.is_some())
            .collect();
        assert_eq!(judged.len(), 1);
        assert_eq!((judged[0].ratio, judged[0].held), (Some(1.5), Some(false)));
    }

    #[test]
    fn what_the_machine_did_beside_a_server_is_told() {
        let sample = |machine_us| Sample {
            cpu_us: 100.0,
            machine_us,
            ..Sample::default()
        };
        let told = |machine_us| unseen(Some(&Ok(vec![sample(machine_us)])), "a").is_some();
        assert_eq!([told(150.0), told(200.0)], [false, true]);
    }
}

//! Row P1: what one client on one connection waits for 5 ms of work, by each arm in turn.
//!
//! The client asks again as soon as it was answered, and each platform was never asked by more than
//! one at once: it has the environments that it started for that, with what a manifest says by
//! default; how many, a note tells. Beside it, a client that leaves a pause between its requests.
//! Blocks are short (A B C A B C …), so that what else happens on the machine hits all alike.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::runtime::Runtime;

use super::super::Plan;
use super::super::client::Http;
use super::super::metrics::Metrics;
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::arm::Arm;
use super::program::Program;
use super::stage::Stage;
use super::work::Work;

/// The row.
pub(super) const ID: &str = "P1";
/// Latency over never restored: the middle one, and what one request in twenty exceeds.
const GOAL_P50: f64 = 1.01;
const GOAL_P95: f64 = 1.05;
/// The work of each request, and how long a client pauses that does not ask at once, in
/// milliseconds.
const WORK_MS: u32 = 5;
const PAUSE_MS: u64 = 10;
/// Requests of one arm before another one's turn, and turns of each round.
const BLOCK: usize = 20;
const BLOCKS: usize = 5;
/// Turns before the first round: longer than the platform looks at what it keeps each second.
const WARM_BLOCKS: usize = 10;
const QUICK_WARM_BLOCKS: usize = 5;

/// Latencies of one arm, in microseconds, round by round; why there are none.
type Rounds = Result<Vec<Vec<f64>>, String>;

/// The arms; why one could not be started.
type Arms = BTreeMap<Arm, Result<Asked, String>>;

/// An arm with its one client.
struct Asked {
    server: Server,
    http: Http,
    url: String,
}

/// Measures all arms but those that start a process on the way, whose price other rows show.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    if program == Program::PythonBig {
        return Ok(Vec::new());
    }
    // The client is a thread of its own, and no other has to be woken for an answer.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let bare = Arm::Bare.start(stage, program, &[])?;
    let work = Work::of(&bare)?;
    let (path, warm_up) = (work.path(WORK_MS, 0), work.warm_up(program));
    let asked = |server: Server| Asked {
        http: Http::new(),
        url: server.url(&path),
        server,
    };
    let mut arms = BTreeMap::from([(Arm::Bare, Ok(asked(bare)))]);
    for arm in [Arm::Copies, Arm::OursKept, Arm::Ours] {
        if arm.runs(program) && !(plan.quick && arm == Arm::Copies) {
            let server = arm.start(stage, program, &warm_up);
            arms.insert(arm, server.map(asked).map_err(|error| format!("{error:#}")));
        }
    }
    let warm = if plan.quick {
        QUICK_WARM_BLOCKS
    } else {
        WARM_BLOCKS
    };
    turns(&runtime, &arms, (1, warm), Duration::ZERO);
    let rounds = usize::try_from(plan.rounds)?;
    let rounds = if plan.quick {
        (1, BLOCKS)
    } else {
        (rounds, BLOCKS)
    };
    let before = waited(&runtime, &arms);
    let at_once = turns(&runtime, &arms, rounds, Duration::ZERO);
    let note = environments(&runtime, &arms, &before);
    // What the pause changes is the platform's, and only shown.
    arms.retain(|arm, _| arm.is_ours());
    let pause = Duration::from_millis(PAUSE_MS);
    let paused = turns(&runtime, &arms, (1, BLOCKS), pause);
    let mut rows = Vec::new();
    for (ours, baseline) in [
        (Arm::OursKept, Arm::Bare),
        (Arm::OursKept, Arm::Copies),
        (Arm::Ours, Arm::OursKept),
    ] {
        rows.extend(rows_of(program, (ours, baseline), "", &at_once));
    }
    let pause = format!(", {PAUSE_MS} ms between");
    rows.extend(rows_of(
        program,
        (Arm::Ours, Arm::OursKept),
        &pause,
        &paused,
    ));
    for row in &mut rows {
        if row.note.is_none() && row.goal.is_some() {
            row.note.clone_from(&note);
        }
    }
    Ok(rows)
}

/// So many rounds of so many blocks of each arm.
fn turns(
    runtime: &Runtime,
    arms: &Arms,
    (rounds, blocks): (usize, usize),
    pause: Duration,
) -> BTreeMap<Arm, Rounds> {
    let mut all: BTreeMap<Arm, Rounds> = (arms.iter())
        .map(|(arm, asked)| {
            (
                *arm,
                asked.as_ref().map(|_| Vec::new()).map_err(Clone::clone),
            )
        })
        .collect();
    for _ in 0..rounds {
        let mut round: BTreeMap<Arm, Vec<f64>> = BTreeMap::new();
        for _ in 0..blocks {
            for (arm, asked) in arms.iter() {
                let (Ok(asked), Some(Ok(_))) = (asked, all.get(arm)) else {
                    continue;
                };
                match block(runtime, asked, pause) {
                    Ok(took_us) => round.entry(*arm).or_default().extend(took_us),
                    Err(error) => {
                        all.insert(*arm, Err(format!("{error:#}")));
                    }
                }
            }
        }
        for (arm, took_us) in round {
            if let Some(Ok(rounds)) = all.get_mut(&arm) {
                rounds.push(took_us);
            }
        }
    }
    all
}

fn block(runtime: &Runtime, asked: &Asked, pause: Duration) -> Result<Vec<f64>> {
    runtime.block_on(async {
        let mut took_us = Vec::with_capacity(BLOCK);
        for _ in 0..BLOCK {
            let answer = asked.http.get(&asked.url).await?;
            ensure!(
                answer.status == 200,
                "{} answered {}",
                asked.server.name(),
                answer.status
            );
            took_us.push(answer.first_byte.as_secs_f64() * 1e6);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(took_us)
    })
}

/// Two rows of ours over a baseline, if both take part.
fn rows_of(
    program: Program,
    (ours, baseline): (Arm, Arm),
    how: &str,
    all: &BTreeMap<Arm, Rounds>,
) -> Vec<Row> {
    let (Some(ours_rounds), Some(baseline_rounds)) = (all.get(&ours), all.get(&baseline)) else {
        return Vec::new();
    };
    let why = [ours_rounds, baseline_rounds]
        .into_iter()
        .find_map(|rounds| rounds.as_ref().err());
    // Only what keeps the process on the same road was never restored and nothing else.
    let judged = baseline == Arm::OursKept && how.is_empty();
    let row = |(name, percent, goal): (&str, usize, f64)| {
        let metric = format!(
            "{}, {WORK_MS} ms of work, 1 connection{how}, {name}, {}",
            program.name(),
            ours.name()
        );
        let row = Row::new(ID, metric, "µs")
            .ours(figure(ours_rounds, percent))
            .baseline(baseline.name(), figure(baseline_rounds, percent));
        match why {
            Some(why) => row.noted(format!("not measured: {why}")).unmeasured(),
            None if judged => row.judged(Goal::TimesAtMost(goal)),
            None => row,
        }
    };
    [("p50", 50, GOAL_P50), ("p95", 95, GOAL_P95)]
        .map(row)
        .to_vec()
}

/// Of the rounds, what so many per cent of the requests keep within.
fn figure(rounds: &Rounds, percent: usize) -> Option<Figure> {
    let rounds = rounds.as_ref().ok()?;
    Figure::of(rounds.iter().filter_map(|took_us| {
        let mut sorted = took_us.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
        sorted.get(at).copied()
    }))
}

/// Requests to each platform so far that waited for a start.
fn waited(runtime: &Runtime, arms: &Arms) -> BTreeMap<Arm, f64> {
    let read = |(arm, asked): (&Arm, _)| Some((*arm, metrics(runtime, asked)?.waited()));
    arms.iter().filter_map(read).collect()
}

/// What served: environments of ours, twins among them, and requests that met a start since.
fn environments(runtime: &Runtime, arms: &Arms, before: &BTreeMap<Arm, f64>) -> Option<String> {
    let told = |(arm, asked): (&Arm, _)| {
        let now = metrics(runtime, asked)?;
        let met = now.waited() - before.get(arm)?;
        Some(format!(
            "{}: {} environments, {} of them twins, {met} requests met a start",
            arm.name(),
            now.environments(),
            now.twins()
        ))
    };
    let told: Vec<String> = arms.iter().filter_map(told).collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn metrics(runtime: &Runtime, asked: &Result<Asked, String>) -> Option<Metrics> {
    Metrics::read(runtime, &asked.as_ref().ok()?.server).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn rounds(us: f64) -> Rounds {
        let round: Vec<f64> = (1..=100).map(|at| us + f64::from(at)).collect();
        Ok(vec![round; 3])
    }

    #[test]
    fn what_requests_keep_within_is_found() {
        let of = |percent| figure(&rounds(0.0), percent).unwrap().median;
        assert_eq!([of(50), of(95), of(100)], [50.0, 95.0, 100.0]);
        assert_eq!(figure(&Ok(Vec::new()), 50), None);
        assert_eq!(figure(&Ok(vec![Vec::new()]), 50), None);
    }

    #[test]
    fn latency_is_judged_over_what_is_never_restored() {
        let all = BTreeMap::from([
            (Arm::Bare, rounds(4_000.0)),
            (Arm::OursKept, rounds(5_000.0)),
            (Arm::Ours, rounds(5_040.0)),
        ]);
        let held = |pair, how| {
            let rows = rows_of(Program::Python, pair, how, &all);
            rows.iter().map(|row| row.held).collect::<Vec<_>>()
        };
        let renewed = (Arm::Ours, Arm::OursKept);
        assert_eq!(held(renewed, ""), [Some(true); 2]);
        assert_eq!(held(renewed, ", paused"), [None; 2]);
        assert_eq!(held((Arm::OursKept, Arm::Bare), ""), [None; 2]);
        assert!(held((Arm::OursKept, Arm::Copies), "").is_empty());
    }

    #[test]
    fn an_arm_that_was_not_measured_is_missing() {
        let all = BTreeMap::from([
            (Arm::OursKept, rounds(5_000.0)),
            (Arm::Ours, Err("gone".to_owned())),
        ]);
        let rows = rows_of(Program::Python, (Arm::Ours, Arm::OursKept), "", &all);
        assert!(rows.iter().all(Row::is_missing));
        assert!(rows[0].note.as_ref().unwrap().contains("gone"));
    }
}

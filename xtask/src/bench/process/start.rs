//! Row P6: the first reply of an environment that a request finds missing.
//!
//! ```text
//! deployed: image known ─► one environment ─ not used for a second ─► none, at rest
//!                             ▲                                             │
//!                             └──── first reply ◄─ a clone is made ◄─ request
//! ```
//!
//! Deploying starts an environment, which stays; so the manifest lets environments end after a
//! second, and a request is sent when the platform says that none is left. An environment is made
//! like the first one (a clone); beside it, what starting the program instead would take.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::runtime::Runtime;

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::metrics::Metrics;
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::arm::Arm;
use super::launch::Launch;
use super::platform::Told;
use super::program::Program;
use super::proof::field;
use super::stage::Stage;

/// The row.
pub(super) const ID: &str = "P6";
/// Milliseconds to the first reply of a new environment.
const GOAL_PYTHON_MS: f64 = 5.0;
const GOAL_NODE_MS: f64 = 8.0;
/// Starts of each kind.
const STARTS: usize = 5;
const QUICK_STARTS: usize = 2;
/// How long it may take until no environment is left, in seconds: one of idling, one until that is
/// looked at, and the ending.
const EMPTY_MAX_S: u64 = 20;
/// How often it is looked, in milliseconds.
const LOOK_EACH_MS: u64 = 50;
/// How the platform says that a request started an environment and waited for it.
const COLD: &str = "cold";

/// From request to first byte, in milliseconds; why it could not be measured.
type Firsts = Result<Vec<f64>, String>;

/// Measures both kinds of starts beside the bare program's.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    let starts = if plan.quick { QUICK_STARTS } else { STARTS };
    let runtime = runtime()?;
    let platform = |told: Told| {
        let launch = Launch::plain(stage, program);
        let server = told.soon_ended().start(&launch, Arm::Ours.name(), &[]);
        server.map_err(|error| format!("{error:#}"))
    };
    stage.program(program)?;
    let mut bare = Vec::new();
    // What starts the program instead is not to serve warm-up requests before the first one.
    let (clones, plain) = (
        platform(Told::renewed()),
        platform(Told::fresh().warmed_by(&[])),
    );
    let mut firsts = [Ok(Vec::new()), Ok(Vec::new())];
    for _ in 0..starts {
        bare.push(milliseconds(bare_start(stage, program)?));
        for (server, so_far) in [&clones, &plain].into_iter().zip(&mut firsts) {
            let Ok(so_far_ms) = so_far else { continue };
            let first = match server {
                Ok(server) => first_reply(&runtime, server).map_err(|error| format!("{error:#}")),
                Err(why) => Err(why.clone()),
            };
            match first {
                Ok(first) => so_far_ms.push(milliseconds(first)),
                Err(why) => *so_far = Err(why),
            }
        }
    }
    Ok(rows(program, Figure::of(bare), firsts))
}

fn rows(program: Program, bare: Option<Figure>, [clones, plain]: [Firsts; 2]) -> Vec<Row> {
    let row = |what: &str, firsts: Firsts| {
        let metric = format!("{}, first reply of a new environment{what}", program.name());
        let (firsts, why) = match firsts {
            Ok(firsts) => (firsts, None),
            Err(why) => (Vec::new(), Some(format!("not measured: {why}"))),
        };
        let row = Row::new(ID, metric, "ms")
            .ours(Figure::of(firsts))
            .baseline("bare start to first reply", bare);
        match why {
            Some(why) => row.noted(why).unmeasured(),
            None => row.headline(),
        }
    };
    let clones = row("", clones);
    let clones = match program {
        _ if clones.ours.is_none() => clones,
        Program::Python => clones.judged(Goal::AtMost(GOAL_PYTHON_MS)),
        Program::Node => clones.judged(Goal::AtMost(GOAL_NODE_MS)),
        _ => clones,
    };
    vec![clones, row(", started and not cloned", plain)]
}

/// From nothing to the first reply, without a platform.
fn bare_start(stage: &Stage, program: Program) -> Result<Duration> {
    let begun = Instant::now();
    let copies = Launch::plain(stage, program).copies(1)?;
    let server = Server::of(Arm::Bare.name(), copies.parts, copies.address);
    let _server = server.until_it_answers()?;
    Ok(begun.elapsed())
}

/// One request to a platform that has no environment, and does nothing.
fn first_reply(runtime: &Runtime, server: &Server) -> Result<Duration> {
    let deadline = Instant::now() + Duration::from_secs(EMPTY_MAX_S);
    while Metrics::read(runtime, server)?.environments() > 0.0 {
        if Instant::now() > deadline {
            bail!("the platform has environments {EMPTY_MAX_S} s after the last request");
        }
        std::thread::sleep(Duration::from_millis(LOOK_EACH_MS));
    }
    // The processes of the last one may still be ending.
    server.rest();
    let answer = runtime.block_on(Http::closing().get(&server.url("/")))?;
    let run = answer.run.unwrap_or_default();
    must_be_cold(answer.status, &run)?;
    Ok(answer.first_byte)
}

/// A request that found an environment says nothing of new ones.
fn must_be_cold(status: u16, run: &str) -> Result<()> {
    if status != 200 || field(run, "start") != Some(COLD) {
        bail!("a request was to start an environment, but was answered {status}, \"{run}\"");
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_start_that_was_cold_counts() {
        let run = |start: &str| format!("env=1, area=2, gen=1, start={start}, renewal=fresh");
        assert!(must_be_cold(200, &run("cold")).is_ok());
        assert!(must_be_cold(200, &run("warm")).is_err());
        assert!(must_be_cold(200, &run("joined")).is_err());
        assert!(must_be_cold(504, &run("cold")).is_err());
        assert!(must_be_cold(200, "").is_err());
    }

    #[test]
    fn clones_are_judged_and_a_start_that_was_not_measured_is_missing() {
        let bare = Figure::of([60.0]);
        let both = rows(
            Program::Node,
            bare,
            [Ok(vec![7.0, 9.0, 7.5]), Ok(vec![80.0])],
        );
        assert_eq!((both[0].ours, both[0].held), (Some(7.5), Some(true)));
        assert_eq!(both[1].goal, None);
        let none = rows(
            Program::Node,
            bare,
            [Err("gone".to_owned()), Ok(vec![80.0])],
        );
        assert!(none[0].is_missing() && !none[1].is_missing());
    }
}

//! Row W12: what the first reply of a deployed function without an environment takes more than its
//! warm reply, both on a new connection.
//!
//! ```text
//! deployed ─► one environment ─ not used for a second ─► none, the image given up too
//!                 ▲                                       │
//!                 └── first reply ◄─ loaded, started ◄─ request
//! ```
//!
//! The manifest lets environments end after a second, and a request is sent when the platform says
//! that none is left.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::runtime::Runtime;

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::metrics::Metrics;
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::kind::Programs;
use super::stage;
use crate::workspace;

/// The row.
pub(crate) const ID: &str = "W12";
/// Functions, and milliseconds that the first reply may take more.
const FUNCTIONS: [(&str, f64); 3] = [("rust-hello", 1.0), ("js-hello", 5.0), ("py-hello", 8.0)];
/// First replies of each.
const STARTS: usize = 5;
const QUICK_STARTS: usize = 2;
/// Warm replies for each of them.
const WARM_REPLIES: usize = 10;
/// How long it may take until no environment is left, in seconds.
const EMPTY_MAX_S: u64 = 20;
/// How often it is looked, in milliseconds.
const LOOK_EACH_MS: u64 = 50;
/// How the platform says that a request started an environment and waited for it.
const COLD: &str = "start=cold";

/// Measures each function; what could not be measured says why.
pub(crate) fn measure(plan: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    let functions = match plan.quick {
        true => &FUNCTIONS[..1],
        false => &FUNCTIONS[..],
    };
    let starts = if plan.quick { QUICK_STARTS } else { STARTS };
    let runtime = runtime()?;
    let mut rows = Vec::new();
    for (name, goal_ms) in functions {
        println!("-- {name}, without an environment");
        let function = stage::function(programs, name)?;
        let folder = workspace::root()
            .join("target/bench")
            .join(name)
            .join("ended");
        fs::create_dir_all(&folder)?;
        fs::copy(&function.component, folder.join("component.wasm"))?;
        let manifest =
            format!("name = \"{name}\"\ncomponent = \"component.wasm\"\n[keep]\nidle_max_s = 1\n");
        fs::write(folder.join("function.toml"), manifest)?;
        let server = Server::start("usher", &mut Server::ours(&programs.built.usher, &folder))?;
        let (mut more, mut first, mut warm) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..starts {
            let (cold_ms, warm_ms) = one(&runtime, &server)?;
            more.push(cold_ms - warm_ms);
            first.push(cold_ms);
            warm.push(warm_ms);
        }
        rows.push(judged(name, more, *goal_ms));
        rows.push(shown(name, first, warm));
    }
    Ok(rows)
}

fn judged(name: &str, more_ms: Vec<f64>, goal_ms: f64) -> Row {
    let metric = format!("{name}, first reply without an environment, beyond a warm one");
    Row::new(ID, metric, "ms")
        .ours(Figure::of(more_ms))
        .judged(Goal::AtMost(goal_ms))
}

fn shown(name: &str, first_ms: Vec<f64>, warm_ms: Vec<f64>) -> Row {
    let metric = format!("{name}, first reply without an environment");
    Row::new(ID, metric, "ms")
        .ours(Figure::of(first_ms))
        .baseline("its warm reply on a new connection", Figure::of(warm_ms))
}

/// A first reply and the median of warm ones behind it, in milliseconds.
fn one(runtime: &Runtime, server: &Server) -> Result<(f64, f64)> {
    let deadline = Instant::now() + Duration::from_secs(EMPTY_MAX_S);
    while Metrics::read(runtime, server)?.environments() > 0.0 {
        if Instant::now() > deadline {
            bail!("the platform has environments {EMPTY_MAX_S} s after the last request");
        }
        std::thread::sleep(Duration::from_millis(LOOK_EACH_MS));
    }
    server.rest();
    let ask = || {
        let answer = runtime.block_on(Http::closing().get(&server.url("/")))?;
        ensure!(answer.status == 200, "it was answered {}", answer.status);
        let first_byte_ms = answer.first_byte.as_secs_f64() * 1e3;
        anyhow::Ok((first_byte_ms, answer.run.unwrap_or_default()))
    };
    let (cold_ms, run) = ask()?;
    ensure!(
        run.contains(COLD),
        "a request was to start an environment: {run}"
    );
    let warm = (0..WARM_REPLIES).map(|_| Ok(ask()?.0));
    let warm = Figure::of(warm.collect::<Result<Vec<_>>>()?);
    let warm_ms = warm.map_or(0.0, |warm| warm.median);
    Ok((cold_ms, warm_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_more_is_judged() {
        let held = |ms| judged("f", vec![ms], 1.0).held;
        assert_eq!((held(0.9), held(1.1)), (Some(true), Some(false)));
        assert!(judged("f", Vec::new(), 1.0).is_missing());
        assert_eq!(shown("f", vec![3.0], vec![1.5]).ratio, Some(2.0));
    }
}

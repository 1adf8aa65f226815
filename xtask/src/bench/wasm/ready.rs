//! Row W11, its second part: memory of an environment that is ready for its first request.
//!
//! Of the same function a few environments are kept ready, and then many; what the platform's
//! process has more is divided by how many more there are. Code and clean image, which they share,
//! are in both.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::runtime::Runtime;

use super::super::Plan;
use super::super::client::runtime;
use super::super::metrics::Metrics;
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::kind::Programs;
use super::many::ID;
use super::stage;
use crate::workspace;

/// Functions, and MiB of an environment.
const FUNCTIONS: [(&str, f64); 3] = [("rust-hello", 0.5), ("js-hello", 4.0), ("py-hello", 4.0)];
/// Environments that are kept ready.
const FEW: u32 = 4;
const MANY: u32 = 36;
/// How long they may take to be there, in seconds.
const READY_MAX_S: u64 = 60;
/// How often it is looked, in milliseconds.
const LOOK_EACH_MS: u64 = 20;

/// Measures each once: memory does not waver as time does.
pub(super) fn measure(plan: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    let functions = match plan.quick {
        true => &FUNCTIONS[..1],
        false => &FUNCTIONS[..],
    };
    let runtime = runtime()?;
    let mut rows = Vec::new();
    for (name, goal_mib) in functions {
        println!("-- {name}, ready environments");
        let few = private_mib(&runtime, programs, name, FEW)?;
        let many = private_mib(&runtime, programs, name, MANY)?;
        let each = (many - few) / f64::from(MANY - FEW);
        rows.push(row(name, each, *goal_mib));
    }
    Ok(rows)
}

fn row(name: &str, mib: f64, goal_mib: f64) -> Row {
    Row::new(ID, format!("{name}, memory per ready environment"), "MiB")
        .ours(Figure::of([mib]))
        .judged(Goal::AtMost(goal_mib))
}

/// The platform's own memory with so many environments.
fn private_mib(runtime: &Runtime, programs: &Programs, name: &str, ready: u32) -> Result<f64> {
    let function = stage::function(programs, name)?;
    let folder = workspace::root()
        .join("target/bench")
        .join(name)
        .join("ready");
    fs::create_dir_all(&folder)?;
    fs::copy(&function.component, folder.join("component.wasm"))?;
    let manifest =
        format!("name = \"{name}\"\ncomponent = \"component.wasm\"\n[keep]\nready_min = {ready}\n");
    fs::write(folder.join("function.toml"), manifest)?;
    let server = Server::start("usher", &mut Server::ours(&programs.built.usher, &folder))?;
    let deadline = Instant::now() + Duration::from_secs(READY_MAX_S);
    while Metrics::read(runtime, &server)?.clean() < f64::from(ready) {
        if Instant::now() > deadline {
            bail!("{ready} environments were not ready after {READY_MAX_S} s");
        }
        std::thread::sleep(Duration::from_millis(LOOK_EACH_MS));
    }
    server.rest();
    let kib = super::many::private_kib(&server).context("the platform's memory was not read")?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_judged() {
        let held = |mib| row("f", mib, 0.5).held;
        assert_eq!((held(0.4), held(0.6)), (Some(true), Some(false)));
    }
}

//! Row P7: memory of an environment that is ready for its first request, beside a copy of the bare
//! program.
//!
//! Of ours: everything that lives in the environment's own space of process numbers; what the
//! platform itself takes is a row of its own. Pages that several share count in parts (PSS), so
//! that as many copies run of one as of the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::super::Plan;
use super::super::client::runtime;
use super::super::metrics::Metrics;
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::arm::Arm;
use super::launch::Launch;
use super::platform::Told;
use super::program::Program;
use super::stage::Stage;
use crate::proc::{Memory, Process};

/// The row.
pub(super) const ID: &str = "P7";
/// MiB of an environment's own.
const GOAL_PYTHON_MIB: f64 = 2.0;
const GOAL_NODE_MIB: f64 = 6.0;
/// Copies, and environments that stay.
const COPIES: u32 = 4;
/// How long all of them may take to be there, in seconds.
const READY_MAX_S: u64 = 60;
/// How often it is looked, in milliseconds.
const LOOK_EACH_MS: u64 = 20;

/// Measures both once: memory does not waver as time does.
pub(super) fn measure(_: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    let bare = bare(stage, program)?;
    let (environments, platform, why) = match ours(stage, program) {
        Ok((environments, platform)) => (environments, vec![platform], None),
        Err(error) => (
            Vec::new(),
            Vec::new(),
            Some(format!("not measured: {error:#}")),
        ),
    };
    let row = |what: &str, of: fn(&Memory) -> u64| {
        let figure = |each: &[Memory]| Figure::of(each.iter().map(|memory| mib(of(memory))));
        let row = Row::new(ID, format!("{}, {what}", program.name()), "MiB")
            .ours(figure(&environments))
            .baseline("bare copy", figure(&bare));
        match &why {
            Some(why) => row.noted(why.clone()).unmeasured(),
            None => row.headline(),
        }
    };
    let own = row("private, per ready environment", |it| it.private_kib);
    let own = match program {
        Program::Python if why.is_none() => own.judged(Goal::AtMost(GOAL_PYTHON_MIB)),
        Program::Node if why.is_none() => own.judged(Goal::AtMost(GOAL_NODE_MIB)),
        _ => own,
    };
    let mut rows = vec![
        row("shared in parts, per ready environment", |it| {
            it.proportional_kib
        }),
        own,
    ];
    let platform = Figure::of(platform.iter().map(|it| mib(it.proportional_kib)));
    if platform.is_some() {
        let metric = format!("{}, the platform itself", program.name());
        rows.push(Row::new(ID, metric, "MiB").ours(platform));
    }
    Ok(rows)
}

fn bare(stage: &Stage, program: Program) -> Result<Vec<Memory>> {
    let copies = usize::try_from(COPIES)?;
    let copies = Launch::plain(stage, program).copies(copies)?;
    copies.until_ready()?;
    let server = Server::of(Arm::Bare.name(), copies.parts, copies.address);
    server.rest();
    // The API that Lambda functions ask is no part of them.
    let parts = server.processes();
    let parts = parts.iter().skip(usize::from(program.is_lambda()));
    Ok(parts.map(|processes| sum(processes)).collect())
}

/// Of every environment, and of the platform.
fn ours(stage: &Stage, program: Program) -> Result<(Vec<Memory>, Memory)> {
    let told = Told::renewed().ready(COPIES);
    let server = told.start(&Launch::plain(stage, program), Arm::Ours.name(), &[])?;
    let command = program.command(&stage.runtimes);
    let file = command.last().map(String::as_str).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(READY_MAX_S);
    let runtime = runtime()?;
    // A program that runs may still be on its way to ready.
    while Metrics::read(&runtime, &server)?.clean() < f64::from(COPIES)
        || with(environments(&server), file).len() < usize::try_from(COPIES)?
    {
        if Instant::now() > deadline {
            let found = with(environments(&server), file).len();
            bail!("{found} of {COPIES} environments were ready after {READY_MAX_S} s");
        }
        std::thread::sleep(Duration::from_millis(LOOK_EACH_MS));
    }
    server.rest();
    let found = with(environments(&server), file);
    let platform = server.processes().concat();
    let platform: Vec<Process> = (platform.into_iter())
        .filter(|process| !is_apart(process))
        .collect();
    Ok((
        found.iter().map(|processes| sum(processes)).collect(),
        sum(&platform),
    ))
}

/// The processes of each space of process numbers that is not this chore's.
fn environments(server: &Server) -> Vec<Vec<Process>> {
    let mut spaces: BTreeMap<PathBuf, Vec<Process>> = BTreeMap::new();
    for process in server.processes().concat() {
        if let (true, Some(space)) = (is_apart(&process), process.number_space()) {
            spaces.entry(space).or_default().push(process);
        }
    }
    spaces.into_values().collect()
}

fn is_apart(process: &Process) -> bool {
    let own = Process::find(std::process::id()).and_then(|own| own.number_space());
    let space = process.number_space();
    space.is_some() && space != own
}

/// Those in which the program runs: others wait for one.
fn with(environments: Vec<Vec<Process>>, file: &str) -> Vec<Vec<Process>> {
    let runs = |process: &Process| process.command().iter().any(|part| part.ends_with(file));
    let with = environments.into_iter().filter(|all| all.iter().any(runs));
    with.collect()
}

fn sum(processes: &[Process]) -> Memory {
    let each = processes.iter().filter_map(Process::memory);
    each.fold(Memory::default(), |sum, one| Memory {
        proportional_kib: sum.proportional_kib + one.proportional_kib,
        private_kib: sum.private_kib + one.private_kib,
    })
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 KiB")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

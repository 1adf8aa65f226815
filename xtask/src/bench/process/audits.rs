//! Row P9: what it costs to audit one renewal in 1,000, of the time that renewals take.
//!
//! One platform audits every renewal, another one none; what an audited one takes more is shared
//! out over those that are not.

use anyhow::{Context, Result};

use super::super::Plan;
use super::super::client::runtime;
use super::super::row::{Figure, Goal, Row};
use super::arm::Arm;
use super::launch::Launch;
use super::platform::Told;
use super::program::Program;
use super::renewals::renewed_us;
use super::stage::Stage;

/// The row.
pub(super) const ID: &str = "P9";
/// Renewals of which one is audited.
const ONE_IN: f64 = 1_000.0;
/// What that may cost, in percent of all the time that renewals take.
const GOAL_PERCENT: f64 = 1.0;
/// Requests by each platform.
const REQUESTS: u32 = 200;
const QUICK_REQUESTS: u32 = 60;
/// Turns in which they are asked.
const TURNS: u32 = 4;

/// Measures both in turn.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    let requests = if plan.quick { QUICK_REQUESTS } else { REQUESTS };
    let runtime = runtime()?;
    let platform = |one_in: &str| {
        let launch = Launch::plain(stage, program);
        Told::renewed().start(&launch, Arm::Ours.name(), &["--audit-one-in", one_in])
    };
    let servers = [platform("0")?, platform("1")?];
    let mut took_us = [Vec::new(), Vec::new()];
    for _ in 0..TURNS {
        for (server, took_us) in servers.iter().zip(&mut took_us) {
            let renewed = renewed_us(&runtime, server, requests / TURNS)?;
            let put_back = renewed.into_iter().filter(|(how, _)| how != "replaced");
            took_us.extend(put_back.flat_map(|(_, took)| took));
        }
    }
    let [none, all] = took_us.map(|took_us| Figure::of(took_us).context("nothing was put back"));
    let (none, all) = (none?, all?);
    let percent = (all.median - none.median) / ONE_IN / none.median * 100.0;
    let name = program.name();
    let metric = format!("{name}, audits of one renewal in 1,000, of the time of renewals");
    Ok(vec![
        Row::new(ID, metric, "%")
            .ours(Figure::of([percent]))
            .judged(Goal::AtMost(GOAL_PERCENT)),
        Row::new(ID, format!("{name}, a renewal that is audited, p50"), "µs")
            .ours(Some(all))
            .baseline("not audited", Some(none)),
    ])
}

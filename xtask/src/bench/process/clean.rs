//! Row P8: requests that saw what another request had left, by a count in the program's own memory;
//! with our mode that keeps the process as the control.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::arm::Arm;
use super::launch::Launch;
use super::platform::Told;
use super::program::Program;
use super::stage::Stage;

/// The row.
pub(super) const ID: &str = "P8";
/// Answers that may have seen another request.
const GOAL: f64 = 0.0;
/// Requests at once.
const IN_FLIGHT: u64 = 8;
/// Requests of each program.
const REQUESTS: u64 = 500;
const QUICK_REQUESTS: u64 = 24;

/// Measures ours and the control.
pub(super) fn measure(plan: &Plan, stage: &Stage, program: Program) -> Result<Vec<Row>> {
    let requests = if plan.quick { QUICK_REQUESTS } else { REQUESTS };
    let row = |arm: Arm, told: Told, goal, what: &str| -> Result<Row> {
        // Without warm-up requests the first one of a clean state counts one.
        let told = told.warmed_by(&[]);
        let server = told.start(&Launch::plain(stage, program), arm.name(), &[])?;
        let seen = runtime()?.block_on(seen(&server, requests))?;
        let metric = format!(
            "{}, requests of {requests} that saw another one{what}",
            program.name()
        );
        let row = Row::new(ID, metric, "requests");
        Ok(row.ours(Figure::of([seen])).judged(goal))
    };
    Ok(vec![
        row(Arm::Ours, Told::renewed(), Goal::AtMost(GOAL), "")?,
        row(
            Arm::OursKept,
            Told::kept(),
            Goal::AtLeast(1.0),
            ", isolation none: the control",
        )?,
    ])
}

async fn seen(server: &Server, requests: u64) -> Result<f64> {
    let begun = Arc::new(AtomicU64::new(0));
    let tasks = (0..IN_FLIGHT).map(|_| {
        let (begun, url) = (begun.clone(), server.url("/?count"));
        tokio::spawn(async move {
            let http = Http::new();
            let mut seen = 0_u32;
            while begun.fetch_add(1, Ordering::Relaxed) < requests {
                seen += u32::from(count(&http, &url).await? != 1);
            }
            anyhow::Ok(seen)
        })
    });
    let mut seen = 0;
    for task in tasks.collect::<Vec<_>>() {
        seen += task.await??;
    }
    Ok(f64::from(seen))
}

async fn count(http: &Http, url: &str) -> Result<u64> {
    let answer = http.get(url).await?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "answered {}: {text}", answer.status);
    let count = text.trim().parse();
    count.with_context(|| format!("no count: {text}"))
}

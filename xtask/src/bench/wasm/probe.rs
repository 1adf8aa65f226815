//! Row W13: what a leak probe finds in many requests, and what one trap costs those beside it.
//!
//! The probe (`examples/rust/leak-probe`) plants a marker in every kind of state that it has in
//! half of the requests, and looks for it in all that it can reach in the others. It runs on any
//! host, so the baseline is probed by the same requests, and so is our own mode that does not
//! clean: if the probe finds nothing there, it cannot find anything, and the row fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::super::Plan;
use super::super::client::{Http, runtime};
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::kind::{Kind, Programs};
use super::stage;

/// The row.
pub(crate) const ID: &str = "W13";
/// Plants and looks.
const PROBE: &str = "rust-leak-probe";
/// Traps when told so, and takes its time when told so.
const HOG: &str = "rust-hog";
/// Markers that may be found.
const GOAL_LEAKS: f64 = 0.0;
/// Requests that one trap may cost: the one that trapped.
const GOAL_LOST: f64 = 1.0;
/// Requests to the control. What is planted there stays, so that every look has more to go through.
const CONTROL_PROBES: u64 = 1_000;
/// Requests at once.
const IN_FLIGHT: u64 = 16;
/// The marker; what is planted is a form of it that stands in no request.
const MARKER: &str = "5bd1e995a3c49f7e1b873593cc9e2d51";
/// A request that runs for some milliseconds.
const BESIDE: &str = "/?mib=8";

/// What a look found.
#[derive(Debug, PartialEq, Deserialize)]
struct Found {
    hits: u64,
    counter: u64,
    first_handle: u64,
    fields_handles: Vec<u64>,
}

/// Measures ours, the control and the baseline.
pub(crate) fn measure(plan: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    println!("-- {PROBE}, {HOG}");
    let probe = stage::function(programs, PROBE)?;
    let hog = stage::function(programs, HOG)?;
    let runtime = runtime()?;
    let leaks = |kind: Kind, probes: u64| -> Result<Option<Figure>> {
        let server = kind.start(programs, &probe)?;
        let found = runtime.block_on(leaks(&server, probes));
        let found = found.with_context(|| format!("{} under the probe", kind.name()))?;
        Ok(Figure::of([found]))
    };
    let lost = |kind: Kind| -> Result<Option<Figure>> {
        let server = kind.start(programs, &hog)?;
        let each = (0..plan.rounds).map(|_| runtime.block_on(lost(&server)));
        Ok(Figure::of(each.collect::<Result<Vec<f64>>>()?))
    };
    let count = |probes: u64| format!("leaks found in {probes} requests");
    let control_probes = plan.probes.min(CONTROL_PROBES);
    let baseline = Kind::Fresh;
    Ok(vec![
        Row::new(ID, count(plan.probes), "requests")
            .ours(leaks(Kind::Ours, plan.probes)?)
            .baseline(baseline.name(), leaks(baseline, plan.probes)?)
            .judged(Goal::AtMost(GOAL_LEAKS)),
        Row::new(
            ID,
            format!("{}, isolation none: the control", count(control_probes)),
            "requests",
        )
        .ours(leaks(Kind::OursUnclean, control_probes)?)
        .judged(Goal::AtLeast(1.0)),
        Row::new(
            ID,
            format!("lost to one trap of {IN_FLIGHT} in flight"),
            "requests",
        )
        .ours(lost(Kind::Ours)?)
        .baseline(baseline.name(), lost(baseline)?)
        .judged(Goal::AtMost(GOAL_LOST)),
    ])
}

/// How many looks found something of another request.
async fn leaks(server: &Server, requests: u64) -> Result<f64> {
    let http = Http::new();
    // Handle numbers of a first run; every later run has to see the same.
    let first = look(&http, server).await?;
    let begun = Arc::new(AtomicU64::new(0));
    let url = |what: &str| server.url(&format!("/?{what}={MARKER}"));
    let (plant, seek) = (url("plant"), url("seek"));
    let handles = Arc::new((first.first_handle, first.fields_handles));
    let tasks = (0..IN_FLIGHT).map(|_| {
        let (http, begun, handles) = (http.clone(), begun.clone(), handles.clone());
        let (plant, seek) = (plant.clone(), seek.clone());
        tokio::spawn(async move {
            let mut leaks = 0_u32;
            loop {
                let nth = begun.fetch_add(1, Ordering::Relaxed);
                if nth >= requests {
                    return anyhow::Ok(leaks);
                }
                let planting = nth % 2 == 0;
                let found = read(&http, if planting { &plant } else { &seek }).await?;
                let dirty = found.hits > 0 && !planting;
                let numbered = (found.first_handle, found.fields_handles) != *handles;
                leaks += u32::from(dirty || numbered || found.counter != 1);
            }
        })
    });
    let mut leaks = 0;
    for task in tasks.collect::<Vec<_>>() {
        leaks += task.await??;
    }
    Ok(f64::from(leaks))
}

async fn look(http: &Http, server: &Server) -> Result<Found> {
    read(http, &server.url(&format!("/?seek={MARKER}"))).await
}

async fn read(http: &Http, url: &str) -> Result<Found> {
    let answer = http.get(url).await?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(
        answer.status == 200,
        "the probe answered {}: {text}",
        answer.status
    );
    serde_json::from_str(&text).with_context(|| format!("the probe answered {text}"))
}

/// How many of the requests in flight fail when one of them traps, that one among them.
async fn lost(server: &Server) -> Result<f64> {
    let http = Http::new();
    // All environments are there before it counts.
    all_at_once(&http, (0..IN_FLIGHT).map(|_| server.url(BESIDE))).await?;
    let trap = IN_FLIGHT / 2;
    let path = |nth: u64| if nth == trap { "/?trap=1" } else { BESIDE };
    all_at_once(&http, (0..IN_FLIGHT).map(|nth| server.url(path(nth)))).await
}

/// How many of these fail when they are sent together.
async fn all_at_once(http: &Http, urls: impl Iterator<Item = String>) -> Result<f64> {
    let tasks: Vec<_> = urls
        .map(|url| {
            let http = http.clone();
            tokio::spawn(async move { http.get(&url).await.is_ok_and(|it| it.status == 200) })
        })
        .collect();
    let mut lost = 0_u32;
    for task in tasks {
        lost += u32::from(!task.await?);
    }
    Ok(f64::from(lost))
}

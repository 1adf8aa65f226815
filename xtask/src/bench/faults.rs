//! Row W9: page faults per request in steady state, and what cleaning up costs, over what a request
//! dirties.

use std::time::Duration;

use anyhow::Result;

use super::load::{self, Sample};
use super::row::{Figure, Goal, Row};
use super::server::{Kind, Programs, Server};
use super::{Plan, stage};

/// The row.
pub(crate) const ID: &str = "W9";
/// The function that dirties what it is told.
const FUNCTION: &str = "rust-dirty";
/// Page faults per request, shown to a tenth: a server does other things too.
const GOAL: f64 = 0.0;
/// What a request dirties, in KiB; a quick run takes the last one only.
const DIRTY_KIB: [u32; 4] = [0, 64, 1024, 8192];
/// Requests at once.
const CONNECTIONS: u32 = 16;
/// Steady state begins when each area of each environment has been used, in milliseconds.
const WARM_MIN_MS: u64 = 1_000;

/// Measures ours beside the fastest isolated baseline.
pub(crate) fn measure(plan: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    println!("-- {FUNCTION}");
    let function = stage::function(programs, FUNCTION)?;
    let servers =
        [Kind::Ours, Kind::FreshBest].map(|kind| Server::start(kind, programs, &function));
    let [ours, baseline] = servers;
    let (ours, baseline) = (ours?, baseline?);
    let levels = if plan.quick {
        &DIRTY_KIB[DIRTY_KIB.len() - 1..]
    } else {
        &DIRTY_KIB
    };
    let mut rows = Vec::new();
    for kib in levels {
        let path = format!("/?kib={kib}");
        let mut samples: [Vec<Sample>; 2] = Default::default();
        let warm = plan.warm.max(Duration::from_millis(WARM_MIN_MS));
        for server in [&ours, &baseline] {
            load::round(server, &path, CONNECTIONS, warm)?;
        }
        for _ in 0..plan.rounds {
            for (server, samples) in [&ours, &baseline].into_iter().zip(&mut samples) {
                samples.push(load::round(server, &path, CONNECTIONS, plan.round)?);
            }
        }
        rows.extend(rows_of(*kib, baseline.name(), &samples));
    }
    Ok(rows)
}

fn rows_of(kib: u32, baseline: &str, [ours, theirs]: &[Vec<Sample>; 2]) -> [Row; 2] {
    let figure = |samples: &[Sample], of: fn(&Sample) -> f64| Figure::of(samples.iter().map(of));
    let tenths = |sample: &Sample| (sample.faults * 10.0).round() / 10.0;
    let cpu = |sample: &Sample| sample.cpu_us;
    let metric = |what: &str| format!("{what}, {kib} KiB dirtied, scattered");
    let faults = Row::new(ID, metric("page faults"), "per request")
        .ours(figure(ours, tenths))
        .baseline(baseline, figure(theirs, tenths))
        .judged(Goal::AtMost(GOAL));
    let rps = Row::new(ID, metric("rust-dirty"), "requests/s")
        .ours(figure(ours, |sample| sample.rps))
        .baseline(baseline, figure(theirs, |sample| sample.rps))
        .cpu(figure(ours, cpu), figure(theirs, cpu));
    [faults, rps]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(faults: f64) -> Option<bool> {
        let sample = Sample {
            faults,
            ..Sample::default()
        };
        rows_of(64, "other", &[vec![sample], vec![sample]])[0].held
    }

    #[test]
    fn one_fault_in_ten_requests_is_one_too_many() {
        assert_eq!(judged(0.04), Some(true));
        assert_eq!(judged(0.06), Some(false));
    }
}

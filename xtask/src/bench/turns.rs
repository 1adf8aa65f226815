//! Rounds in turn: each round loads every server once (A B C A B C …), so that what else happens on
//! the machine hits all alike; and rows of what they showed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Plan;
use super::load::{self, Sample};
use super::row::{Figure, Row};
use super::server::Server;

/// A round takes as long as is needed for so many answers to each connection, within the plan's
/// bound.
const ANSWERS_MIN: f64 = 5.0;

/// Servers by kind; why there is none, if it could not be started.
pub(super) type Servers<K> = BTreeMap<K, Result<Server, String>>;

/// What the rounds of one server showed; why there are none, if it could not be measured.
pub(super) type Measured = Result<Vec<Sample>, String>;

/// Warms and measures the servers that `takes_part` names; `before_round` makes one ready.
pub(super) fn rounds<K: Copy + Ord>(
    plan: &Plan,
    servers: &mut Servers<K>,
    takes_part: impl Fn(K) -> bool,
    before_round: impl Fn(K, &Server),
    path: &str,
    connections: u32,
) -> BTreeMap<K, Measured> {
    let mut measured: BTreeMap<K, Measured> = BTreeMap::new();
    let mut lengths: BTreeMap<K, Duration> = BTreeMap::new();
    for (kind, server) in servers.iter().filter(|(kind, _)| takes_part(**kind)) {
        let started = match server {
            Ok(server) => {
                // Whether a slow one answers at all, its rounds will tell.
                let warm = load::round(server, path, connections, plan.warm);
                let rps = warm.map_or(0.0, |warm| warm.rps);
                lengths.insert(*kind, length(plan, rps, connections));
                Ok(Vec::new())
            }
            Err(error) => Err(error.clone()),
        };
        measured.insert(*kind, started);
    }
    for _ in 0..plan.rounds {
        for (kind, server) in servers.iter_mut() {
            let (Ok(server), Some(so_far)) = (server, measured.get_mut(kind)) else {
                continue;
            };
            let length = lengths.get(kind).copied().unwrap_or(plan.round);
            let Ok(samples) = so_far else { continue };
            before_round(*kind, server);
            let sample = load::round(server, path, connections, length)
                .and_then(|sample| server.must_run().map(|()| sample));
            match sample {
                Ok(sample) => samples.push(sample),
                Err(error) => *so_far = Err(format!("{error:#}")),
            }
        }
    }
    measured
}

fn length(plan: &Plan, rps: f64, connections: u32) -> Duration {
    let needed = ANSWERS_MIN * f64::from(connections) / rps.max(1.0);
    let needed = Duration::from_secs_f64(needed).min(plan.round_max);
    plan.round.max(needed)
}

/// The figure of one server.
pub(super) fn figure<K: Ord>(
    measured: &BTreeMap<K, Measured>,
    kind: K,
    of: fn(&Sample) -> f64,
) -> Option<Figure> {
    match measured.get(&kind) {
        Some(Ok(samples)) => Figure::of(samples.iter().map(of)),
        _ => None,
    }
}

/// A row of throughput with processor times: ours over a baseline, each with its name.
pub(super) fn row<K: Copy + Ord>(
    id: &str,
    metric: String,
    measured: &BTreeMap<K, Measured>,
    ours: (K, &str),
    baseline: (K, &str),
) -> Row {
    let of = |kind, of| figure(measured, kind, of);
    let row = Row::new(id, metric, "requests/s")
        .ours(of(ours.0, |sample| sample.rps))
        .baseline(baseline.1, of(baseline.0, |sample| sample.rps))
        .cpu(
            of(ours.0, |sample| sample.cpu_us),
            of(baseline.0, |sample| sample.cpu_us),
        );
    match notes(&[ours, baseline], measured) {
        notes if notes.is_empty() => row,
        notes => row.noted(notes.join("; ")),
    }
}

/// What went wrong with any of these.
fn notes<K: Copy + Ord>(kinds: &[(K, &str)], measured: &BTreeMap<K, Measured>) -> Vec<String> {
    let note = |(kind, name): &(K, &str)| match measured.get(kind)? {
        Err(error) => Some(format!("{name}: {error}")),
        Ok(samples) => {
            let errors: f64 = samples.iter().map(|sample| sample.errors).sum();
            (errors > 0.0).then(|| format!("{name}: {errors} failed requests"))
        }
    };
    kinds.iter().filter_map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_server_gets_longer_rounds_within_bounds() {
        let round = Duration::from_millis(250);
        let plan = Plan {
            quick: false,
            rows: Vec::new(),
            rounds: 1,
            round,
            round_max: Duration::from_secs(8),
            warm: round,
            probes: 0,
        };
        assert_eq!(length(&plan, 10_000.0, 16), round);
        assert_eq!(length(&plan, 20.0, 16), Duration::from_secs(4));
        assert_eq!(length(&plan, 0.0, 16), Duration::from_secs(8));
    }
}

//! Rows W1 to W7: requests per second of ours over those of a baseline, in turn.
//!
//! All servers of one function run at once, and idle ones cost nothing; a round loads each of them
//! once (A B C A B C …), so that what else happens on the machine hits all alike.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::super::Plan;
use super::super::load::{self, Sample};
use super::super::row::{Figure, Goal, Row};
use super::super::server::Server;
use super::kind::{Function, Kind, Programs};
use super::stage;

/// Connections of the rows.
const CONNECTIONS: u32 = 16;
/// Connections of the ladder beside them.
const LADDER: [u32; 2] = [1, 64];

/// A row: ours over a baseline, with one function.
struct Versus {
    id: &'static str,
    function: &'static str,
    ours: Kind,
    baseline: Kind,
    goal: f64,
}

const fn versus(id: &'static str, function: &'static str, baseline: Kind, goal: f64) -> Versus {
    Versus {
        id,
        function,
        ours: Kind::Ours,
        baseline,
        goal,
    }
}

/// The rows and their goals.
const ROWS: [Versus; 11] = [
    versus("W1", "rust-hello", Kind::Fresh, 6.0),
    versus("W2", "rust-hello", Kind::FreshBest, 4.5),
    versus("W3", "rust-hello", Kind::Reused, 1.0),
    versus("W3", "rust-hello", Kind::OursUnclean, 0.85),
    versus("W4", "js-hello", Kind::FreshBest, 3.0),
    versus("W4", "js-hello", Kind::Reused, 0.6),
    versus("W5", "js-hello-fetch", Kind::FreshBest, 4.5),
    versus("W6", "py-hello", Kind::Fresh, 30.0),
    versus("W6", "py-hello", Kind::FreshBest, 25.0),
    versus("W6", "py-hello", Kind::Reused, 0.5),
    versus("W7", "rust-hello", Kind::Hyper, 0.5),
];

/// What the rounds of one server showed; why there are none, if it could not be measured.
type Measured = Result<Vec<Sample>, String>;

/// Measures the planned rows; those that are only shown come last.
pub(crate) fn measure(plan: &Plan, programs: &Programs) -> Vec<Row> {
    let wanted: Vec<&Versus> = ROWS.iter().filter(|row| plan.wants(row.id)).collect();
    let mut names: Vec<&str> = Vec::new();
    for row in &wanted {
        if !names.contains(&row.function) {
            names.push(row.function);
        }
    }
    let mut rows = Vec::new();
    for name in names {
        println!("-- {name}");
        let of_name = || wanted.iter().copied().filter(|row| row.function == name);
        match measure_one(plan, programs, name, &of_name().collect::<Vec<_>>()) {
            Ok(measured) => rows.extend(measured),
            Err(error) => rows.extend(of_name().map(|row| Row::missing(row.id, &error))),
        }
    }
    rows.sort_by_key(|row| row.goal.is_none());
    rows
}

fn measure_one(plan: &Plan, programs: &Programs, name: &str, rows: &[&Versus]) -> Result<Vec<Row>> {
    let function = stage::function(programs, name)?;
    let mut servers = start(rows, programs, &function);
    let measured = rounds(plan, &mut servers, CONNECTIONS);
    let judge = |versus: &&Versus| {
        row(versus, &measured, CONNECTIONS).judged(Goal::TimesAtLeast(versus.goal))
    };
    let mut found: Vec<Row> = rows.iter().map(judge).collect();
    let ladder = if plan.quick { &[][..] } else { &LADDER };
    for connections in ladder {
        let measured = rounds(plan, &mut servers, *connections);
        found.extend(
            rows.iter()
                .map(|versus| row(versus, &measured, *connections)),
        );
    }
    Ok(found)
}

fn start(
    rows: &[&Versus],
    programs: &Programs,
    function: &Function,
) -> BTreeMap<Kind, Result<Server, String>> {
    let kinds = rows.iter().flat_map(|row| [row.ours, row.baseline]);
    let kinds: BTreeSet<Kind> = kinds.collect();
    let start = |kind: Kind| {
        kind.start(programs, function)
            .map_err(|error| format!("{error:#}"))
    };
    kinds.into_iter().map(|kind| (kind, start(kind))).collect()
}

fn rounds(
    plan: &Plan,
    servers: &mut BTreeMap<Kind, Result<Server, String>>,
    connections: u32,
) -> BTreeMap<Kind, Measured> {
    let mut measured: BTreeMap<Kind, Measured> = BTreeMap::new();
    for (kind, server) in servers.iter() {
        let warm = match server {
            Ok(server) => load::round(server, "/", connections, plan.warm)
                .map(|_| Vec::new())
                .map_err(|error| format!("{error:#}")),
            Err(error) => Err(error.clone()),
        };
        measured.insert(*kind, warm);
    }
    for _ in 0..plan.rounds {
        for (kind, server) in servers.iter_mut() {
            let (Ok(server), Some(so_far)) = (server, measured.get_mut(kind)) else {
                continue;
            };
            let sample = load::round(server, "/", connections, plan.round)
                .and_then(|sample| server.must_run().map(|()| sample));
            match (so_far.as_mut(), sample) {
                (Ok(samples), Ok(sample)) => samples.push(sample),
                (Ok(_), Err(error)) => *so_far = Err(format!("{error:#}")),
                (Err(_), _) => {}
            }
        }
    }
    measured
}

fn row(versus: &Versus, measured: &BTreeMap<Kind, Measured>, connections: u32) -> Row {
    let metric = format!("{}, {connections} connections", versus.function);
    let figure = |kind: Kind, of: fn(&Sample) -> f64| match measured.get(&kind) {
        Some(Ok(samples)) => Figure::of(samples.iter().map(of)),
        _ => None,
    };
    let (ours, baseline) = (versus.ours, versus.baseline);
    let row = Row::new(versus.id, metric, "requests/s")
        .ours(figure(ours, |sample| sample.rps))
        .baseline(baseline.name(), figure(baseline, |sample| sample.rps))
        .cpu(
            figure(ours, |sample| sample.cpu_us),
            figure(baseline, |sample| sample.cpu_us),
        );
    match notes(&[ours, baseline], measured) {
        notes if notes.is_empty() => row,
        notes => row.noted(notes.join("; ")),
    }
}

/// What went wrong with any of these.
fn notes(kinds: &[Kind], measured: &BTreeMap<Kind, Measured>) -> Vec<String> {
    let note = |kind: &Kind| match measured.get(kind)? {
        Err(error) => Some(format!("{}: {error}", kind.name())),
        Ok(samples) => {
            let errors: f64 = samples.iter().map(|sample| sample.errors).sum();
            (errors > 0.0).then(|| format!("{}: {errors} failed requests", kind.name()))
        }
    };
    kinds.iter().filter_map(note).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn measured(ours: Measured, baseline: Measured) -> BTreeMap<Kind, Measured> {
        BTreeMap::from([(Kind::Ours, ours), (Kind::Fresh, baseline)])
    }

    fn judged(measured: &BTreeMap<Kind, Measured>) -> Row {
        row(&ROWS[0], measured, CONNECTIONS).judged(Goal::TimesAtLeast(ROWS[0].goal))
    }

    fn at(rps: f64) -> Sample {
        Sample {
            rps,
            ..Sample::default()
        }
    }

    #[test]
    fn a_row_is_ours_over_the_baseline_by_medians() {
        let ours = vec![at(600.0), at(900.0), at(100.0)];
        let row = judged(&measured(Ok(ours), Ok(vec![at(100.0)])));
        assert_eq!(
            (row.ratio, row.goal, row.held),
            (Some(6.0), Some(6.0), Some(true))
        );
        assert_eq!(row.ours_spread.unwrap(), [100.0, 900.0]);
    }

    #[test]
    fn a_server_that_did_not_run_holds_nothing_and_says_why() {
        let row = judged(&measured(Err("gone".to_owned()), Ok(vec![at(1.0)])));
        assert_eq!(
            (row.held, row.note.as_deref()),
            (Some(false), Some("usher: gone"))
        );
    }

    #[test]
    fn failed_requests_are_told() {
        let bad = Sample {
            errors: 2.0,
            ..at(1.0)
        };
        let row = judged(&measured(Ok(vec![bad]), Ok(vec![at(1.0)])));
        assert_eq!(row.note.unwrap(), "usher: 2 failed requests");
    }
}

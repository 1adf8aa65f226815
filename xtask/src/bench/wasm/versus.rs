//! Rows W1 to W7: requests per second of ours over those of a baseline, in turn.
//!
//! All servers of one function run at once, and idle ones cost nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::super::Plan;
use super::super::row::{Goal, Row};
use super::super::turns::{self, Measured, Servers};
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

/// The same of ours with a warm-up request in the manifest.
const fn warmed(id: &'static str, function: &'static str, baseline: Kind, goal: f64) -> Versus {
    Versus {
        ours: Kind::OursWarm,
        ..versus(id, function, baseline, goal)
    }
}

/// The rows and their goals.
const ROWS: [Versus; 13] = [
    versus("W1", "rust-hello", Kind::Fresh, 6.0),
    versus("W2", "rust-hello", Kind::FreshBest, 4.5),
    versus("W3", "rust-hello", Kind::Reused, 1.0),
    versus("W3", "rust-hello", Kind::OursUnclean, 0.85),
    versus("W4", "js-hello", Kind::FreshBest, 3.0),
    versus("W4", "js-hello", Kind::Reused, 0.6),
    warmed("W4", "js-hello", Kind::Reused, 0.85),
    versus("W5", "js-hello-fetch", Kind::FreshBest, 4.5),
    versus("W6", "py-hello", Kind::Fresh, 30.0),
    versus("W6", "py-hello", Kind::FreshBest, 25.0),
    versus("W6", "py-hello", Kind::Reused, 0.5),
    warmed("W6", "py-hello", Kind::Reused, 0.7),
    versus("W7", "rust-hello", Kind::Hyper, 0.5),
];

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
    let measured = turns::rounds(plan, &mut servers, |_| true, |_, _| (), "/", CONNECTIONS);
    let judge = |versus: &&Versus| {
        row(versus, &measured, CONNECTIONS).judged(Goal::TimesAtLeast(versus.goal))
    };
    let mut found: Vec<Row> = rows.iter().map(judge).collect();
    let ladder = if plan.quick { &[][..] } else { &LADDER };
    for connections in ladder {
        let measured = turns::rounds(plan, &mut servers, |_| true, |_, _| (), "/", *connections);
        found.extend(
            rows.iter()
                .map(|versus| row(versus, &measured, *connections)),
        );
    }
    Ok(found)
}

fn start(rows: &[&Versus], programs: &Programs, function: &Function) -> Servers<Kind> {
    let kinds = rows.iter().flat_map(|row| [row.ours, row.baseline]);
    let kinds: BTreeSet<Kind> = kinds.collect();
    let start = |kind: Kind| {
        kind.start(programs, function)
            .map_err(|error| format!("{error:#}"))
    };
    kinds.into_iter().map(|kind| (kind, start(kind))).collect()
}

fn row(versus: &Versus, measured: &BTreeMap<Kind, Measured>, connections: u32) -> Row {
    let warmed = match versus.ours {
        Kind::OursWarm => " with warm-up",
        _ => "",
    };
    let metric = format!("{}{warmed}, {connections} connections", versus.function);
    let named = |kind: Kind| (kind, kind.name());
    let (ours, baseline) = (named(versus.ours), named(versus.baseline));
    turns::row(versus.id, metric, measured, ours, baseline)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::super::load::Sample;
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

//! Row W9: page faults per request in steady state, and what cleaning up costs, over what a request
//! dirties; beside it, not judged, the same over how much state a request makes anew.

use std::time::Duration;

use anyhow::Result;

use super::super::Plan;
use super::super::load::{self, Sample};
use super::super::row::{Figure, Goal, Row};
use super::kind::{Kind, Programs};
use super::stage;

/// The row.
pub(crate) const ID: &str = "W9";
/// Page faults per request, shown to a tenth: a server does other things too.
const GOAL: f64 = 0.0;
/// Requests at once.
const CONNECTIONS: u32 = 16;
/// Steady state begins when each area of each environment has been used, in milliseconds.
const WARM_MIN_MS: u64 = 1_000;
/// Writes to every second page of what it has from the start. A quick run takes the last step only.
const DIRTY: Ladder = Ladder {
    function: "rust-dirty",
    steps: &[
        ("/?kib=0", "0 KiB dirtied, scattered"),
        ("/?kib=64", "64 KiB dirtied, scattered"),
        ("/?kib=1024", "1 MiB dirtied, scattered"),
        ("/?kib=8192", "8 MiB dirtied, scattered"),
    ],
    goal: Some(GOAL),
};
/// Grows its memory in each request, which has to be rolled back.
const GROWN: Ladder = Ladder {
    function: "rust-hog",
    steps: &[
        ("/?mib=1", "1 MiB grown"),
        ("/?mib=16", "16 MiB grown"),
        ("/?mib=64", "64 MiB grown"),
    ],
    goal: None,
};

/// A function with paths that make it do more and more, and what each does.
struct Ladder {
    function: &'static str,
    steps: &'static [(&'static str, &'static str)],
    goal: Option<f64>,
}

/// Measures ours beside the fastest isolated baseline.
pub(crate) fn measure(plan: &Plan, programs: &Programs) -> Result<Vec<Row>> {
    if plan.quick {
        return climb(
            plan,
            programs,
            &DIRTY,
            &DIRTY.steps[DIRTY.steps.len() - 1..],
        );
    }
    let mut rows = climb(plan, programs, &DIRTY, DIRTY.steps)?;
    rows.extend(climb(plan, programs, &GROWN, GROWN.steps)?);
    Ok(rows)
}

fn climb(
    plan: &Plan,
    programs: &Programs,
    ladder: &Ladder,
    steps: &[(&str, &str)],
) -> Result<Vec<Row>> {
    println!("-- {}", ladder.function);
    let function = stage::function(programs, ladder.function)?;
    let ours = Kind::Ours.start(programs, &function)?;
    let baseline = Kind::FreshBest.start(programs, &function)?;
    let warm = plan.warm.max(Duration::from_millis(WARM_MIN_MS));
    let mut rows = Vec::new();
    for (path, what) in steps {
        let mut samples: [Vec<Sample>; 2] = Default::default();
        for server in [&ours, &baseline] {
            load::round(server, path, CONNECTIONS, warm)?;
        }
        for _ in 0..plan.rounds {
            for (server, samples) in [&ours, &baseline].into_iter().zip(&mut samples) {
                samples.push(load::round(server, path, CONNECTIONS, plan.round)?);
            }
        }
        rows.extend(rows_of(ladder, what, baseline.name(), &samples));
    }
    Ok(rows)
}

fn rows_of(
    ladder: &Ladder,
    what: &str,
    baseline: &str,
    [ours, theirs]: &[Vec<Sample>; 2],
) -> [Row; 2] {
    let figure = |samples: &[Sample], of: fn(&Sample) -> f64| Figure::of(samples.iter().map(of));
    let tenths = |sample: &Sample| (sample.faults * 10.0).round() / 10.0;
    let cpu = |sample: &Sample| sample.cpu_us;
    let faults = Row::new(ID, format!("page faults, {what}"), "per request")
        .ours(figure(ours, tenths))
        .baseline(baseline, figure(theirs, tenths));
    let faults = match ladder.goal {
        Some(goal) => faults.judged(Goal::AtMost(goal)),
        None => faults,
    };
    let rps = Row::new(ID, format!("{}, {what}", ladder.function), "requests/s")
        .ours(figure(ours, |sample| sample.rps))
        .baseline(baseline, figure(theirs, |sample| sample.rps))
        .cpu(figure(ours, cpu), figure(theirs, cpu));
    let errors: f64 = ours.iter().chain(theirs).map(|sample| sample.errors).sum();
    let rps = if errors > 0.0 {
        rps.noted(format!("{errors} failed requests"))
    } else {
        rps
    };
    [faults, rps]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ladder: &Ladder, faults: f64, errors: f64) -> [Row; 2] {
        let sample = Sample {
            faults,
            errors,
            ..Sample::default()
        };
        rows_of(ladder, "so much", "other", &[vec![sample], vec![sample]])
    }

    #[test]
    fn one_fault_in_ten_requests_is_one_too_many() {
        assert_eq!(rows(&DIRTY, 0.04, 0.0)[0].held, Some(true));
        assert_eq!(rows(&DIRTY, 0.06, 0.0)[0].held, Some(false));
        assert_eq!(rows(&GROWN, 0.06, 0.0)[0].held, None);
    }

    #[test]
    fn failed_requests_are_told() {
        assert_eq!(rows(&DIRTY, 0.0, 0.0)[1].note, None);
        assert!(rows(&DIRTY, 0.0, 2.0)[1].note.is_some());
    }
}

//! The checks of the demo that are about Linux programs, on one server in C.
//!
//! Its counter is a variable of the process: it says 1 exactly where the process is a new one, or
//! was put back to what it was. The control is the same program with its state kept, which counts
//! on.
//!
//! Deliberately absent: attacks on the sandbox, which are tests of the engine.

use std::time::Instant;

use anyhow::Context;

use super::Stage;
use super::finding::Finding;
use super::renewals::{self, Names};
use super::speed::median;
use crate::call::RunFacts;

/// Requests of each counter, one after the other.
const COUNTS: usize = 20;
/// What the findings about its renewals are called.
const NAMES: Names = Names {
    processes: "program-processes",
    put_back: "program-renewed-in-place",
    replaced_because: "program-is-replaced-because",
    replaced: "program-renewed-by-replacing",
};

/// What consecutive requests of a counter were answered.
struct Counted {
    counts: Vec<u64>,
    runs: Vec<RunFacts>,
    times_us: Vec<f64>,
}

/// In the place of all other findings about programs.
pub(super) fn left_out(why: String) -> Finding {
    Finding::new("programs-left-out", why, "", true)
}

/// A program that knows nothing of the platform answers.
pub(super) async fn answers(stage: &Stage) -> anyhow::Result<Finding> {
    let answer = stage.get("program", "/hello").await?;
    let held = answer.status == 200 && answer.text() == "hello from C";
    Ok(Finding::new("program-answers", answer.text(), "", held))
}

/// The counter counts to one, time and again: the process is put back to what it was.
pub(super) async fn renewed(stage: &Stage) -> anyhow::Result<Vec<Finding>> {
    let counted = counted(stage, "program").await?;
    let ones = counted.counts.iter().filter(|count| **count == 1).count();
    let replaced = stage.replaced.get("program").map(String::as_str);
    let mut findings = vec![Finding::new(
        "program-counter-says-one",
        ones,
        "of 20 requests",
        ones == COUNTS,
    )];
    findings.extend(renewals::judge(&NAMES, &counted.runs, replaced));
    let median = median(counted.times_us);
    findings.push(Finding::new("program-renewed-median", median, "us", true));
    Ok(findings)
}

/// The negative control.
pub(super) async fn kept_process(stage: &Stage) -> anyhow::Result<[Finding; 3]> {
    let counted = counted(stage, "program-none").await?;
    let highest = counted.counts.iter().copied().max().unwrap_or_default();
    let (same, grown) = grown(&counted);
    Ok([
        Finding::new("without-isolation-program-says", highest, "", highest > 1),
        Finding::new(
            "without-isolation-program-stays",
            same,
            "consecutive runs",
            same > 0 && grown == same,
        ),
        Finding::new("program-kept-median", median(counted.times_us), "us", true),
    ])
}

/// A program that ends amid a request is told of, and the next request is served.
pub(super) async fn crash(stage: &Stage) -> anyhow::Result<[Finding; 2]> {
    let crash = stage.get("program", "/crash").await?.status.as_u16();
    let next = stage.get("program", "/").await?;
    let count = next.text();
    let held = next.status == 200 && count == "1";
    Ok([
        Finding::new("program-crash-is-told", crash, "status", crash == 502),
        Finding::new("program-after-the-crash-says", count, "", held),
    ])
}

async fn counted(stage: &Stage, function: &str) -> anyhow::Result<Counted> {
    let mut counted = Counted {
        counts: Vec::with_capacity(COUNTS),
        runs: Vec::with_capacity(COUNTS),
        times_us: Vec::with_capacity(COUNTS),
    };
    for _ in 0..COUNTS {
        let begun = Instant::now();
        let answer = stage.get(function, "/").await?;
        counted.times_us.push(begun.elapsed().as_secs_f64() * 1e6);
        let text = answer.text();
        let count = text.parse();
        let count = count.with_context(|| format!("{function} answered {text}"))?;
        counted.counts.push(count);
        let run = answer.run.context("a reply had no usher-run header")?;
        counted.runs.push(run);
    }
    Ok(counted)
}

/// How many consecutive runs were in one environment, and in how many of these the count grew by
/// one.
fn grown(counted: &Counted) -> (usize, usize) {
    let runs = counted.runs.iter().zip(&counted.counts);
    let pairs = runs.clone().zip(runs.skip(1));
    let same = pairs.filter(|((before, _), (after, _))| before.environment == after.environment);
    same.fold((0, 0), |(same, grown), ((_, before), (_, after))| {
        (same + 1, grown + usize::from(*after == before + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(environment: u64, renewal: &str) -> RunFacts {
        RunFacts {
            environment,
            area: environment,
            renewal: renewal.to_owned(),
        }
    }

    #[test]
    fn a_count_grows_within_one_environment_only() {
        let kept = |environments: [u64; 4], counts: [u64; 4]| Counted {
            counts: counts.to_vec(),
            runs: environments.map(|id| run(id, "kept")).to_vec(),
            times_us: Vec::new(),
        };
        assert_eq!(grown(&kept([1, 1, 2, 2], [1, 2, 1, 2])), (2, 2));
        // A count that does not grow is seen, and environments in turn say nothing.
        assert_eq!(grown(&kept([1, 1, 1, 1], [1, 1, 2, 3])), (3, 2));
        assert_eq!(grown(&kept([1, 2, 1, 2], [1, 1, 2, 2])), (0, 0));
    }

    #[test]
    fn programs_that_are_left_out_fail_nothing() {
        let finding = left_out("no sandbox".to_owned());
        assert!(finding.held);
        assert_eq!(finding.value, "no sandbox");
    }
}

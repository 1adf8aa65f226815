//! The checks of the demo, each on functions that look for what must not be there.
//!
//! A check that finds nothing proves something only beside one that finds: hence the same functions
//! without isolation, and the probe's own count right after planting.

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::Stage;
use super::finding::Finding;
use crate::call::{Answer, RunFacts};

/// Requests of `counter`, one after the other.
const COUNTS: usize = 200;
/// How often a marker is planted and then looked for.
const PLANTINGS: usize = 25;
/// What is planted: 32 hexadecimal digits, of which the first ones say how many handles are leaked.
const MARKER: &str = "0b07c4a91e5d3f62884de1aa10572cf9";

/// What the leak probe answers, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Probe {
    hits: u64,
    first_handle: u64,
}

/// Every function that is called simply answers.
pub(super) async fn answers(stage: &Stage) -> anyhow::Result<Finding> {
    let answer = stage.get("hello", "/").await?;
    let held = answer.status == 200 && answer.text().contains("Hello");
    Ok(Finding::new("hello-answers", answer.text(), "", held))
}

/// The counter counts to one, time and again: the environment stays, the area changes.
pub(super) async fn clean_areas(stage: &Stage) -> anyhow::Result<[Finding; 3]> {
    let mut ones = 0;
    let mut runs = Vec::with_capacity(COUNTS);
    for _ in 0..COUNTS {
        let answer = stage.get("counter", "/").await?;
        ones += usize::from(answer.text() == "1");
        let run = answer.run.context("a reply had no usher-run header")?;
        runs.push(run);
    }
    let seen = consecutive(&runs);
    Ok([
        Finding::new("counter-says-one", ones, "of 200 requests", ones == COUNTS),
        Finding::new(
            "same-environment-other-area",
            seen.other_area,
            "consecutive runs",
            seen.other_area > 0 && seen.same_area == 0,
        ),
        // The first uses of an environment's areas were not renewed yet.
        Finding::new(
            "renewed-by-swap",
            seen.swapped,
            "of these",
            seen.swapped > 0 && seen.swapped == seen.other_area,
        ),
    ])
}

/// What consecutive runs have in common.
#[derive(Debug, Default, PartialEq, Eq)]
struct Consecutive {
    /// In the same environment, in another area.
    other_area: usize,
    /// In the same environment, in the same area.
    same_area: usize,
    /// Of those in another area, how many were renewed by the swap.
    swapped: usize,
}

fn consecutive(runs: &[RunFacts]) -> Consecutive {
    let mut seen = Consecutive::default();
    for pair in runs.windows(2) {
        let [before, after] = pair else { continue };
        if before.environment != after.environment {
            continue;
        }
        match before.area == after.area {
            true => seen.same_area += 1,
            false => {
                seen.other_area += 1;
                seen.swapped += usize::from(after.renewal == "swap");
            }
        }
    }
    seen
}

/// What one request planted, the next one cannot find.
pub(super) async fn nothing_leaks(stage: &Stage) -> anyhow::Result<[Finding; 3]> {
    let (mut planted, mut found) = (0, 0);
    let mut handles = Vec::with_capacity(PLANTINGS);
    for _ in 0..PLANTINGS {
        planted += stage.probe("leak-probe", "plant").await?.hits;
        let sought = stage.probe("leak-probe", "seek").await?;
        found += sought.hits;
        handles.push(sought.first_handle);
    }
    let same_handle = handles.windows(2).all(|pair| pair[0] == pair[1]);
    Ok([
        Finding::new("markers-planted", planted, "places", planted > 0),
        Finding::new("markers-found-by-the-next", found, "places", found == 0),
        Finding::new("first-handle-is-the-same", same_handle, "", same_handle),
    ])
}

/// The negative control.
pub(super) async fn leaks_without_isolation(stage: &Stage) -> anyhow::Result<[Finding; 2]> {
    stage.probe("leak-probe-none", "plant").await?;
    let mut found = 0;
    let mut highest = 0;
    for _ in 0..PLANTINGS {
        found += stage.probe("leak-probe-none", "seek").await?.hits;
        let count: u64 = stage.get("counter-none", "/").await?.text().parse()?;
        highest = highest.max(count);
    }
    Ok([
        Finding::new(
            "without-isolation-markers-found",
            found,
            "places",
            found > 0,
        ),
        Finding::new("without-isolation-counter-says", highest, "", highest > 1),
    ])
}

/// A run without end is ended with 504, and the next request of the same function is served.
pub(super) async fn endless_run(stage: &Stage) -> anyhow::Result<[Finding; 3]> {
    let endless = stage.get("slow", "/?spin=1&ms=600000");
    let (endless, other) = tokio::join!(endless, stage.get("hello", "/"));
    let (endless, other) = (endless?.status.as_u16(), other?.status.as_u16());
    let next = stage.get("slow", "/?ms=0").await?.status.as_u16();
    Ok([
        Finding::new("endless-run-is-ended", endless, "status", endless == 504),
        Finding::new("meanwhile-another-function", other, "status", other == 200),
        Finding::new("next-request-is-served", next, "status", next == 200),
    ])
}

impl Stage {
    pub(super) async fn get(&self, function: &str, path: &str) -> anyhow::Result<Answer> {
        self.caller.get(self.gateway, function, path).await
    }

    async fn probe(&self, function: &str, what: &str) -> anyhow::Result<Probe> {
        let path = format!("/?{what}={MARKER}");
        let answer = self.get(function, &path).await?;
        let text = answer.text();
        ensure!(
            answer.status == 200,
            "{function} answered {}: {text}",
            answer.status
        );
        serde_json::from_str(&text).with_context(|| format!("{function} answered {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(environment: u64, area: u64, renewal: &str) -> RunFacts {
        RunFacts {
            environment,
            area,
            renewal: renewal.to_owned(),
        }
    }

    #[test]
    fn only_runs_of_one_environment_are_compared() {
        let swaps = [run(1, 1, "fresh"), run(1, 2, "swap"), run(1, 1, "swap")];
        let seen = consecutive(&swaps);
        assert_eq!((seen.other_area, seen.same_area, seen.swapped), (2, 0, 2));
        // Two environments in turn say nothing, and an area that stays is seen.
        let turns = [run(1, 1, "swap"), run(2, 3, "swap"), run(1, 2, "swap")];
        assert_eq!(consecutive(&turns), Consecutive::default());
        let stays = [run(1, 1, "swap"), run(1, 1, "swap")];
        assert_eq!(consecutive(&stays).same_area, 1);
    }

    #[test]
    fn the_marker_is_one_that_the_probe_takes() {
        assert_eq!(MARKER.len(), 32);
        assert!(MARKER.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
}

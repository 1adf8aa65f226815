//! The checks of the demo on programs in Python and Node, which know nothing of the platform.
//!
//! Each server keeps all that it is told, in memory, in its environment and in a file, and says how
//! often it was called, in how many of these places it finds something, and what its generators
//! drew. The control is the same server with its state kept.
//!
//! Deliberately absent: other generators, and other places, which are tests of the engine.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::Context;
use serde::Deserialize;

use super::Stage;
use super::finding::Finding;
use super::renewals::{self, Names};
use super::speed::median;
use crate::bundled::{self, Bundled};
use crate::call::RunFacts;

/// Requests of each server, one after the other.
const REQUESTS: usize = 100;
/// Requests of each control.
const CONTROLS: usize = 10;

/// One language.
pub(super) struct Language {
    pub(super) bundled: Bundled,
    /// Its functions: the one that is renewed, and its control.
    pub(super) function: &'static str,
    pub(super) control: &'static str,
    missing: &'static str,
    says_one: &'static str,
    found: &'static str,
    repeated: &'static str,
    median: &'static str,
    renewals: Names,
    control_says: &'static str,
    control_found: &'static str,
}

pub(super) const PYTHON: Language = Language {
    bundled: bundled::PYTHON,
    function: "python",
    control: "python-none",
    missing: "python-left-out",
    says_one: "python-counter-says-one",
    found: "python-markers-found-by-the-next",
    repeated: "python-random-values-repeated",
    median: "python-request-median",
    renewals: Names {
        processes: "python-processes",
        put_back: "python-renewed-in-place",
        replaced_because: "python-is-replaced-because",
        replaced: "python-renewed-by-replacing",
    },
    control_says: "without-isolation-python-says",
    control_found: "without-isolation-python-finds",
};

pub(super) const NODE: Language = Language {
    bundled: bundled::NODE,
    function: "node",
    control: "node-none",
    missing: "node-left-out",
    says_one: "node-counter-says-one",
    found: "node-markers-found-by-the-next",
    repeated: "node-random-values-repeated",
    median: "node-request-median",
    renewals: Names {
        processes: "node-processes",
        put_back: "node-renewed-in-place",
        replaced_because: "node-is-replaced-because",
        replaced: "node-renewed-by-replacing",
    },
    control_says: "without-isolation-node-says",
    control_found: "without-isolation-node-finds",
};

/// What a server says.
#[derive(Debug, Deserialize)]
struct Told {
    count: u64,
    found: u64,
    random: Vec<String>,
}

/// In the place of all other findings about a language whose interpreter this machine has not.
pub(super) fn left_out(language: &Language, interpreter: &str) -> Finding {
    let why = format!("there is no {interpreter} on this machine");
    Finding::new(language.missing, why, "", true)
}

/// Every request meets the program as it was before its first one, and draws its own values.
pub(super) async fn renewed(stage: &Stage, language: &Language) -> anyhow::Result<Vec<Finding>> {
    let mut times_us = Vec::with_capacity(REQUESTS);
    let mut runs = Vec::with_capacity(REQUESTS);
    let (mut ones, mut found, mut drawn) = (0, 0, 0);
    let mut values = BTreeSet::new();
    for number in 0..REQUESTS {
        let begun = Instant::now();
        let (told, run) = ask(stage, language.function, number).await?;
        times_us.push(begun.elapsed().as_secs_f64() * 1e6);
        runs.push(run);
        ones += usize::from(told.count == 1);
        found += told.found;
        drawn += told.random.len();
        values.extend(told.random);
    }
    let repeated = drawn - values.len();
    let replaced = stage.replaced.get(language.function);
    let renewed = renewals::judge(&language.renewals, &runs, replaced.map(String::as_str));
    let mut findings = vec![Finding::new(
        language.says_one,
        ones,
        "of 100 requests",
        ones == REQUESTS,
    )];
    findings.extend(renewed);
    findings.extend([
        Finding::new(language.found, found, "places", found == 0),
        Finding::new(
            language.repeated,
            repeated,
            "values",
            drawn > 0 && repeated == 0,
        ),
        Finding::new(language.median, median(times_us), "us", true),
    ]);
    Ok(findings)
}

/// The negative control.
pub(super) async fn kept(stage: &Stage, language: &Language) -> anyhow::Result<[Finding; 2]> {
    let (mut highest, mut found) = (0, 0);
    for number in 0..CONTROLS {
        let (told, _) = ask(stage, language.control, number).await?;
        highest = highest.max(told.count);
        found += told.found;
    }
    Ok([
        Finding::new(language.control_says, highest, "", highest > 1),
        Finding::new(language.control_found, found, "places", found > 0),
    ])
}

async fn ask(stage: &Stage, function: &str, number: usize) -> anyhow::Result<(Told, RunFacts)> {
    let answer = stage.get(function, &format!("/?marker-{number}")).await?;
    let text = answer.text();
    let told = serde_json::from_str(&text);
    let told = told.with_context(|| format!("{function} answered {text}"))?;
    let run = answer.run.context("a reply had no usher-run header")?;
    Ok((told, run))
}

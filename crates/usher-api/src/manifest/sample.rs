//! The tables `[[warm_up]]` and `[lint]`: requests that the platform makes of a function itself.
//!
//! Deliberately absent: making them.

use std::collections::BTreeMap;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method};
use usher_core::function::{Contract, Lint, LintChoice, Sample, Settings};

use super::section::{Section, shown};

/// How many requests each of the two tables may have.
const SAMPLES_MAX: usize = 16;
/// The length of a path with its query, in bytes.
const PATH_MAX_BYTES: usize = 4_096;
/// How many headers a request may have.
const HEADERS_MAX: usize = 32;
/// The length of a body or an event, in bytes.
const BODY_MAX_BYTES: usize = 32 << 10;

/// Reads both tables, once it is known what the function is.
pub(super) fn read(section: &mut Section<'_, '_>, settings: &mut Settings) {
    let contract = settings.process.as_ref().map(|process| process.contract);
    let each = |table: &mut Section<'_, '_>| sample(table, contract);
    section.tables("warm_up", SAMPLES_MAX, each, &mut settings.warm_up);
    section.table("lint", |table| lint(table, contract, &mut settings.lint));
    let snap_start = settings.process.as_ref().is_some_and(|it| it.snap_start);
    if snap_start && !settings.warm_up.is_empty() {
        section.mistake(
            "warm_up",
            "a runtime with snap_start takes its first event after its state is taken; leave out \
             one of the two",
        );
    }
}

fn lint(section: &mut Section<'_, '_>, contract: Option<Contract>, lint: &mut Lint) {
    let words = [("on", LintChoice::On), ("off", LintChoice::Off)];
    section.choice("freshness", &words, &mut lint.freshness);
    let each = |table: &mut Section<'_, '_>| sample(table, contract);
    section.tables("requests", SAMPLES_MAX, each, &mut lint.requests);
}

fn sample(section: &mut Section<'_, '_>, contract: Option<Contract>) -> Sample {
    let mut headers = BTreeMap::new();
    let method = section.text("method", "a text in quotes", method);
    let path = section.text("path", "a text in quotes", path);
    section.texts_by_name("headers", HEADERS_MAX, header, &mut headers);
    let body = section.text("body", "a text in quotes", bounded);
    let event = section.text("event", "JSON in quotes", event);
    if event.is_some() && contract != Some(Contract::Lambda) {
        section.mistake("event", "only a Lambda function takes events; write a path");
    }
    let request = method.is_some() || path.is_some() || body.is_some() || !headers.is_empty();
    if event.is_some() && request {
        section.mistake("event", "an event is the whole request; leave out the rest");
    }
    Sample {
        method,
        path,
        headers,
        body: body.unwrap_or_default(),
        event,
    }
}

fn method(text: &str) -> Result<String, String> {
    let legal =
        text.parse::<Method>().is_ok() && text.bytes().all(|byte| !byte.is_ascii_lowercase());
    let legal = legal && text != "CONNECT";
    legal.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "{} is no method of a function; write GET or POST",
            shown(text)
        )
    })
}

fn path(text: &str) -> Result<String, String> {
    let legal = text.len() <= PATH_MAX_BYTES
        && text.starts_with('/')
        && !text.contains('#')
        && text.parse::<PathAndQuery>().is_ok();
    legal.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "{} is no path; write one such as \"/login?next=home\", at most {PATH_MAX_BYTES} bytes",
            shown(text)
        )
    })
}

fn header(name: &str, value: &str) -> Result<(), String> {
    let legal = name.parse::<HeaderName>().is_ok() && value.parse::<HeaderValue>().is_ok();
    legal
        .then_some(())
        .ok_or_else(|| "no header: its name or its value has characters that none may".to_owned())
}

fn bounded(text: &str) -> Result<String, String> {
    match text.len() {
        ..=BODY_MAX_BYTES => Ok(text.to_owned()),
        long => Err(format!(
            "it has {long} bytes; it may have at most {BODY_MAX_BYTES}"
        )),
    }
}

fn event(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => bounded(text),
        Err(error) => Err(format!("this is not JSON: {error}")),
    }
}

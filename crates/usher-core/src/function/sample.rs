//! Requests that the platform itself makes of a function, as its manifest has them: to warm a new
//! environment up before its state is taken, and to see whether its values are fresh.
//!
//! Deliberately absent: making them, which is an engine's, and judging the answers (`freshness`).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Settings;

/// A request of the platform. What a caller sends never becomes one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// The method; none: GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path, with its query; none: `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Headers by their names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// An event for a Lambda function, as JSON, in the place of all the others; none: the event
    /// that its address would make of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

impl Sample {
    /// The method.
    pub fn method(&self) -> &str {
        self.method.as_deref().unwrap_or("GET")
    }

    /// The path, with its query.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/")
    }
}

impl Settings {
    /// What a freshness lint asks: what the manifest says for this, else what warms the function
    /// up, else its root.
    pub fn lint_samples(&self) -> Vec<Sample> {
        let given = [&self.lint.requests, &self.warm_up];
        let given = given.into_iter().find(|samples| !samples.is_empty());
        given.cloned().unwrap_or_else(|| vec![Sample::default()])
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.event {
            Some(_) => f.write_str("an event"),
            None => write!(f, "{} {}", self.method(), self.path()),
        }
    }
}

/// Whether a deployment looks for values that a renewal repeats, and by which requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lint {
    /// Whether it looks.
    pub freshness: LintChoice,
    /// What it asks; none: the warm-up requests, and where there are none either, `GET /`.
    pub requests: Vec<Sample>,
}

/// Whether a lint is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LintChoice {
    /// It looks, and what it finds is followed.
    #[default]
    On,
    /// It does not: who deploys knows what is repeated.
    Off,
}

//! What the platform says of itself: its metrics, in the text format of Prometheus.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::super::client::Http;
use super::super::server::Server;

/// Environments by state; those that wait for a request are clean.
const CLEAN: (&str, &str) = ("usher_environments", "state=\"clean\"");
/// What starting took so far, by phase, and how many environments were started.
const PHASES: &str = "usher_start_microseconds_total";
const STARTED: &str = "usher_environments_started_total";

/// The platform's metrics at one moment.
pub(super) struct Metrics(String);

impl Metrics {
    /// Asks for them.
    pub(super) fn read(runtime: &Runtime, server: &Server) -> Result<Self> {
        let api = server
            .api()
            .context("the platform does not say where its API is")?;
        let url = format!("http://{}/metrics", api.trim_start_matches("http://"));
        let answer = runtime.block_on(Http::new().get(&url))?;
        Ok(Self(String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// Environments that wait for a request.
    pub(super) fn clean(&self) -> f64 {
        let (name, label) = CLEAN;
        let clean = self.of(name).filter(|(labels, _)| labels.contains(label));
        clean.map(|(_, value)| value).sum()
    }

    /// Milliseconds of each phase of a start, the mean of all starts; empty if it does not tell.
    pub(super) fn phases(&self) -> BTreeMap<String, f64> {
        let started: f64 = self.of(STARTED).map(|(_, value)| value).sum();
        let mut phases = BTreeMap::new();
        for (labels, value) in self.of(PHASES) {
            let phase = labels
                .split_once("phase=\"")
                .and_then(|(_, rest)| rest.split_once('"'));
            if let Some((phase, _)) = phase {
                *phases.entry(phase.to_owned()).or_default() += value / started.max(1.0) / 1e3;
            }
        }
        phases
    }

    /// Labels and value of each line of one metric.
    fn of(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0.lines().filter_map(move |line| {
            let (labels, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
            let whole_name = labels.is_empty() || labels.starts_with('{');
            Some((labels, value.parse().ok()?)).filter(|_| whole_name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_shared_among_what_was_started() {
        let text = "# TYPE usher_start_microseconds_total counter\n\
            usher_start_microseconds_total{function=\"a\",phase=\"ready\"} 30000\n\
            usher_start_microseconds_total{phase=\"launch\",function=\"a\"} 5000\n\
            usher_environments_started_total{function=\"a\"} 10\n";
        let expected = BTreeMap::from([("launch".to_owned(), 0.5), ("ready".to_owned(), 3.0)]);
        assert_eq!(Metrics(text.to_owned()).phases(), expected);
        assert!(Metrics(String::new()).phases().is_empty());
    }

    #[test]
    fn only_clean_environments_wait() {
        let text = "usher_environments{function=\"a\",state=\"clean\"} 3\n\
            usher_environments{function=\"a\",state=\"starting\"} 1\n\
            usher_environments_started_total{state=\"clean\"} 9\n";
        assert_eq!(Metrics(text.to_owned()).clean(), 3.0);
    }
}

//! What the platform says of itself: its metrics, in the text format of Prometheus.

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::client::Http;
use super::server::Server;

/// Environments by state; those that wait for a request are clean.
const ENVIRONMENTS: &str = "usher_environments";
const CLEAN: &str = "state=\"clean\"";
/// Environments beside busy ones, which serve while those are renewed.
const TWINS: &str = "usher_twins";
/// Environments that were started so far.
const STARTED: &str = "usher_environments_started_total";
/// Runs by how their environments were come by; those of a warm one waited for no start.
const RUNS: &str = "usher_runs_total";
const WARM: &str = "start=\"warm\"";

/// The platform's metrics at one moment.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Asks for them.
    pub(crate) fn read(runtime: &Runtime, server: &Server) -> Result<Self> {
        let api = server
            .api()
            .context("the platform does not say where its API is")?;
        let url = format!("http://{}/metrics", api.trim_start_matches("http://"));
        let answer = runtime.block_on(Http::new().get(&url))?;
        Ok(Self(String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// Environments that wait for a request.
    pub(crate) fn clean(&self) -> f64 {
        let clean = self.of(ENVIRONMENTS);
        let clean = clean.filter(|(labels, _)| labels.contains(CLEAN));
        clean.map(|(_, value)| value).sum()
    }

    /// Environments in any state.
    pub(crate) fn environments(&self) -> f64 {
        self.of(ENVIRONMENTS).map(|(_, value)| value).sum()
    }

    /// Those of them that were started as twins.
    pub(crate) fn twins(&self) -> f64 {
        self.of(TWINS).map(|(_, value)| value).sum()
    }

    /// Environments that were started so far.
    pub(crate) fn started(&self) -> f64 {
        self.of(STARTED).map(|(_, value)| value).sum()
    }

    /// Requests so far that waited for a start.
    pub(crate) fn waited(&self) -> f64 {
        let runs = self.of(RUNS);
        let waited = runs.filter(|(labels, _)| !labels.contains(WARM));
        waited.map(|(_, value)| value).sum()
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
    fn who_waited_for_a_start_is_told_apart() {
        let text = "# TYPE usher_runs_total counter\n\
            usher_runs_total{function=\"a\",start=\"warm\",renewal=\"swap\"} 7\n\
            usher_runs_total{function=\"a\",start=\"cold\",renewal=\"fresh\"} 2\n\
            usher_runs_total{function=\"a\",start=\"joined\",renewal=\"fresh\"} 1\n\
            usher_environments_started_total{function=\"a\"} 4\n\
            usher_twins{function=\"a\"} 1\n";
        let metrics = Metrics(text.to_owned());
        let read = [metrics.waited(), metrics.started(), metrics.twins()];
        assert_eq!(read, [3.0, 4.0, 1.0]);
        assert_eq!(Metrics(String::new()).waited(), 0.0);
    }

    #[test]
    fn only_clean_environments_wait() {
        let text = "usher_environments{function=\"a\",state=\"clean\"} 3\n\
            usher_environments{function=\"a\",state=\"starting\"} 1\n\
            usher_environments_started_total{state=\"clean\"} 9\n";
        let metrics = Metrics(text.to_owned());
        assert_eq!([metrics.clean(), metrics.environments()], [3.0, 4.0]);
    }
}

//! The environments that a load needs, started before it is measured, and a count of the requests
//! that met a start all the same.
//!
//! A load generator that stops leaves requests behind, and a run whose caller has gone ends its
//! environment: each round would begin with too few, and measure starts. So before each round ours
//! gets requests that are all waited for, as many at once, until it starts no more environments.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::runtime::Runtime;

use super::super::client::{Http, runtime};
use super::super::metrics::Metrics;
use super::super::server::Server;
use super::arm::Arm;

/// No environment is started any more when none was for so long, in milliseconds.
const QUIET_MS: u64 = 300;
/// How often it is looked, in milliseconds.
const LOOK_EACH_MS: u64 = 50;
/// How long a server is filled at most, in milliseconds: one may never stop starting.
const FILLING_MAX_MS: u64 = 4_000;

/// Requests that met a start, by arm.
pub(super) struct Fillings {
    runtime: Runtime,
    met: RefCell<BTreeMap<Arm, Met>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Met {
    /// Requests that had waited for a start when the round began.
    before: f64,
    /// In the rounds so far.
    in_rounds: f64,
}

impl Fillings {
    /// Of no rounds yet.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            runtime: runtime()?,
            met: RefCell::default(),
        })
    }

    /// Before a round of an arm: nothing is done with others than ours. What fails here fails in
    /// the round again, and is told there.
    pub(super) fn before_round(&self, arm: Arm, server: &Server, path: &str, connections: u32) {
        if arm.is_ours() {
            self.look(arm, server);
            let _ = self.fill(server, &server.url(path), connections);
            if let Ok(metrics) = Metrics::read(&self.runtime, server) {
                let mut met = self.met.borrow_mut();
                let in_rounds = met.get(&arm).map_or(0.0, |met| met.in_rounds);
                let before = metrics.waited();
                met.insert(arm, Met { before, in_rounds });
            }
        }
    }

    /// After the last round of an arm.
    pub(super) fn look(&self, arm: Arm, server: &Server) {
        if let Some(met) = self.met.borrow_mut().get_mut(&arm)
            && let Ok(metrics) = Metrics::read(&self.runtime, server)
        {
            met.in_rounds += metrics.waited() - met.before;
        }
    }

    /// What is to be told, by arm: that requests which were measured met a start.
    pub(super) fn notes(&self) -> BTreeMap<Arm, String> {
        let note = |(arm, met): (&Arm, &Met)| {
            let met = met.in_rounds;
            let note = || format!("{}: {met} requests met a start", arm.name());
            (met > 0.0).then(|| (*arm, note()))
        };
        self.met.borrow().iter().filter_map(note).collect()
    }

    fn fill(&self, server: &Server, url: &str, connections: u32) -> Result<()> {
        let enough = Arc::new(AtomicBool::new(false));
        let ask = || {
            let (enough, url) = (enough.clone(), url.to_owned());
            self.runtime.spawn(async move {
                let http = Http::new();
                while !enough.load(Ordering::Relaxed) && http.get(&url).await.is_ok() {}
            })
        };
        let tasks: Vec<_> = (0..connections).map(|_| ask()).collect();
        let filled = self.until_quiet(server);
        enough.store(true, Ordering::Relaxed);
        for task in tasks {
            self.runtime.block_on(task)?;
        }
        filled
    }

    fn until_quiet(&self, server: &Server) -> Result<()> {
        let deadline = Instant::now() + Duration::from_millis(FILLING_MAX_MS);
        let mut started = Metrics::read(&self.runtime, server)?.started();
        let mut since = Instant::now();
        while since.elapsed() < Duration::from_millis(QUIET_MS) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(LOOK_EACH_MS));
            let now = Metrics::read(&self.runtime, server)?.started();
            if now > started {
                (started, since) = (now, Instant::now());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn requests_that_met_a_start_are_told() {
        let fillings = Fillings::new().unwrap();
        assert!(fillings.notes().is_empty());
        let met = |in_rounds| Met {
            before: 3.0,
            in_rounds,
        };
        fillings.met.borrow_mut().insert(Arm::Ours, met(2.0));
        fillings.met.borrow_mut().insert(Arm::OursKept, met(0.0));
        let notes = fillings.notes();
        assert_eq!(notes[&Arm::Ours], "usher: 2 requests met a start");
        assert_eq!(notes.len(), 1);
    }
}

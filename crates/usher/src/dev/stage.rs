//! How the source and what is served of it stand: what requests are held against.
//!
//! ```text
//!  Nothing ─attempt─► Serving ◄──attempt──► Failed         number + 1 with each attempt
//!    a request that comes after change N waits until `handled` is N
//! ```
//!
//! Deliberately absent: making the attempts (`cycle`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::report::Report;
use super::watch::Watcher;

/// How long a request waits for a build and a deployment, in milliseconds; then what served before
/// answers, or a page that says what is going on.
const BUILD_WAIT_MAX_MS: u64 = 30_000;

/// How things stand.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    /// The last change that what is served has taken into account.
    pub(crate) handled: u64,
    /// Which attempt it came of, from 1.
    pub(crate) number: u64,
    /// What it came to.
    pub(crate) outcome: Outcome,
    /// Whether some revision has ever served.
    pub(crate) served: bool,
}

/// What an attempt to serve the source came to.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// There was none yet.
    Nothing,
    /// It is served.
    Serving,
    /// It is not.
    Failed(Arc<Report>),
}

impl Stage {
    /// Before the first attempt.
    pub(crate) fn first() -> Self {
        Self {
            handled: 0,
            number: 0,
            outcome: Outcome::Nothing,
            served: false,
        }
    }
}

/// What a request may do.
#[derive(Debug)]
pub(crate) enum Passed {
    /// Go to the function.
    Serve,
    /// Be told what is wrong with the source.
    Failed(Arc<Report>),
    /// Be told that a build goes on.
    Building,
}

/// Holds requests until what they shall meet is there.
pub(crate) struct Gate {
    watcher: Arc<Watcher>,
    stage: watch::Receiver<Stage>,
    wait_max: Duration,
}

impl Gate {
    /// A gate that follows the stage.
    pub(crate) fn new(watcher: Arc<Watcher>, stage: watch::Receiver<Stage>) -> Self {
        Self {
            watcher,
            stage,
            wait_max: Duration::from_millis(BUILD_WAIT_MAX_MS),
        }
    }

    /// How things stand from now on.
    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.clone()
    }

    /// Waits until all is handled that was saved before; the number is that of the attempt.
    pub(crate) async fn pass(&self) -> (Passed, u64) {
        let saved = self.watcher.drain();
        let mut stage = self.stage.clone();
        let current = |stage: &Stage| stage.number > 0 && stage.handled >= saved;
        let handled = tokio::time::timeout(self.wait_max, stage.wait_for(current)).await;
        if let Ok(Ok(stage)) = handled {
            let passed = match &stage.outcome {
                Outcome::Serving => Passed::Serve,
                Outcome::Failed(report) => Passed::Failed(Arc::clone(report)),
                Outcome::Nothing => Passed::Building,
            };
            return (passed, stage.number);
        }
        let stage = self.stage.borrow();
        let passed = match stage.served {
            true => Passed::Serve,
            false => Passed::Building,
        };
        (passed, stage.number)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::super::rules::Rules;
    use super::*;

    #[tokio::test]
    async fn a_request_after_a_change_waits_until_it_is_handled() {
        let folder = tempfile::tempdir().unwrap();
        let watcher = Arc::new(Watcher::new().unwrap());
        watcher.obey(&Rules::of(folder.path(), None));
        watcher.add(folder.path(), None).unwrap();
        let (set, stage) = watch::channel(Stage {
            number: 1,
            outcome: Outcome::Serving,
            served: true,
            ..Stage::first()
        });
        let mut gate = Gate::new(Arc::clone(&watcher), stage);
        assert!(matches!(gate.pass().await, (Passed::Serve, 1)));

        fs::write(folder.path().join("a"), "").unwrap();
        let mut held = Box::pin(gate.pass());
        assert!(futures_util::poll!(held.as_mut()).is_pending());
        set.send_modify(|stage| (stage.handled, stage.number) = (1, 2));
        assert!(matches!(held.await, (Passed::Serve, 2)));

        // What takes too long is answered by what served before, and by a page where nothing did.
        fs::write(folder.path().join("a"), "").unwrap();
        gate.wait_max = Duration::ZERO;
        assert!(matches!(gate.pass().await, (Passed::Serve, 2)));
        set.send_modify(|stage| stage.served = false);
        assert!(matches!(gate.pass().await, (Passed::Building, 2)));
    }
}

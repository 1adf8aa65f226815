//! What the engine counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use usher_engine::phases::Phases;

/// Counters of one engine, since it was made.
#[derive(Debug, Default)]
pub struct Counters {
    /// Artifacts compiled.
    pub compiled: AtomicU64,
    /// Times that compiled code was loaded.
    pub loaded: AtomicU64,
    /// Environments that were given out and exist.
    pub alive: AtomicU64,
    /// What starts from nothing took.
    pub phases: Phases,
}

/// One environment that exists, counted until it is dropped.
pub(crate) struct Alive(Arc<Counters>);

impl Alive {
    /// Counts it.
    pub(crate) fn count(counters: &Arc<Counters>) -> Self {
        counters.alive.fetch_add(1, Ordering::AcqRel);
        Self(counters.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

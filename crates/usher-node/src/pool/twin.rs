//! Keeping one more environment, so that one serves while another one is renewed.
//!
//! Deliberately absent: whether that pays (`usher_core::keep::twin`), and taking one away, which
//! happens to it as to any environment that was unused for long (`keep`).

use std::sync::Arc;

use usher_core::keep::twin::{Facts, Host, RETRY_AFTER_MS, Why, judge, kept};
use usher_engine::Engine;

use super::Pool;

/// How many twins a pool has, and why so many.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    pub(crate) kept: usize,
    /// None: nothing was judged yet.
    pub(crate) why: Option<Why>,
}

impl<E: Engine> Pool<E> {
    /// Starts one more environment ahead, where that pays, and says whether it did. Never on the
    /// path of a request.
    pub(crate) fn twin(self: &Arc<Self>, host: Host) -> bool {
        let settings = &self.revision.settings;
        let now_us = self.now_us();
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        let Some(figures) = state.plan.figures(now_us) else {
            return false;
        };
        let failed_us = state.start_failed_us;
        let facts = Facts {
            policy: self.policy,
            twins: settings.keep.twins,
            counts: state.plan.counts(),
            environments_max: self.environments_max.get(),
            figures,
            memory_max_mib: u64::from(settings.limits.memory_max_mib),
            start_failed: failed_us
                .is_some_and(|at_us| now_us < at_us.saturating_add(RETRY_AFTER_MS * 1_000)),
            host,
        };
        let why = judge(&facts);
        if why.judged() {
            state.plan.judged();
        }
        let kept = kept(facts.counts, figures.at_once);
        let before = state.twin_why.unwrap_or(why);
        state.twin_why = Some(before.then(why, kept));
        if !why.starts() || !state.plan.start_ahead() {
            return false;
        }
        drop(state);
        self.counters.twins_started.add(1);
        tracing::debug!(function = %self.revision.function, %why, "a twin is started");
        self.begin_start();
        true
    }

    /// How many there are, and why.
    pub(crate) fn twins(&self) -> Standing {
        let now_us = self.now_us();
        let mut state = self.state.lock();
        let Some(figures) = state.plan.figures(now_us) else {
            return Standing::default();
        };
        Standing {
            kept: kept(state.plan.counts(), figures.at_once),
            why: state.twin_why,
        }
    }
}

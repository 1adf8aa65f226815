//! Keeping environments ready, and ending those that nobody has used for long.

use std::sync::Arc;

use usher_core::keep::{Supply, plan};
use usher_core::start::Idle;
use usher_engine::Engine;

use super::{Parked, Pool};

impl<E: Engine> Pool<E> {
    /// Carries out what the revision's `keep` settings ask for now. Idle environments that were
    /// used and stay are renewed after the same time.
    pub(crate) fn tend(self: &Arc<Self>) {
        let keep = &self.revision.settings.keep;
        let now_ms = self.now_ms();
        let (ended, stale, starts) = {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            let supply = Supply {
                environments: state.plan.counts().environments(),
                environments_max: self.revision.settings.limits.concurrency_max as usize,
            };
            let idle = state.plan.idle().map(|idle| idle.since_ms);
            let plan = plan(keep, supply, idle, now_ms);
            let ended = state.end_idle(plan.stop);
            let idle_max_ms = keep.idle_max_s.saturating_mul(1_000);
            let used =
                |idle: &Idle| matches!(state.parked.get(&idle.environment), Some(Parked::Used(_)));
            let stale = state
                .plan
                .idle()
                .take_while(|idle| idle.since_ms.saturating_add(idle_max_ms) <= now_ms)
                .take_while(used)
                .count();
            let mut stale = state.end_idle(stale);
            // A renewal while nobody waits counts as a start: it ends with one more that is ready.
            let room = stale
                .iter()
                .take_while(|_| state.plan.start_ahead())
                .count();
            let without_room = stale.split_off(room);
            ((ended, without_room), stale, plan.start)
        };
        drop(ended);
        for parked in stale {
            self.refresh(parked);
        }
        for _ in 0..starts {
            if !self.start_ahead() {
                break;
            }
        }
    }
}

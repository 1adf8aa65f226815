//! Keeping environments ready, and ending those that nobody has used for long.

use std::sync::Arc;

use usher_core::keep::plan;
use usher_core::start::Idle;
use usher_engine::Engine;

use super::{Parked, Pool, Stored};
use crate::memory::Spare;

impl<E: Engine> Spare for Pool<E> {
    /// Ends the one unused longest, if more are idle than are to stand ready. The state of a key is
    /// never given up for it.
    fn spare(&self) -> bool {
        let ended = {
            let mut state = self.state.lock();
            let ready_min = self.revision.settings.keep.ready_min as usize;
            let spared = usize::from(state.plan.idle().len() > ready_min);
            let places = state.plan.retire(spared);
            state.take_out(&places)
        };
        !ended.is_empty()
    }
}

impl<E: Engine> Pool<E> {
    /// Carries out what the revision's `keep` settings ask for now. Idle environments that were
    /// used and stay are renewed after the same time. The state of a key that was not used for long
    /// is given up.
    pub(crate) fn tend(self: &Arc<Self>) {
        let keep = &self.revision.settings.keep;
        let now_ms = self.now_ms();
        let (ended, stale, starts) = {
            let mut state = self.state.lock();
            if state.closed {
                return;
            }
            let supply = state.plan.supply(self.environments_max.get());
            let idle = state.plan.idle();
            let plan = plan(keep, supply, idle.iter().map(|idle| idle.since_ms), now_ms);
            let places = state.plan.retire(plan.stop);
            let mut ended = state.take_out(&places);
            let key_idle_max_ms = keep.key_idle_max_s.saturating_mul(1_000);
            let places = state.plan.retire_unused(key_idle_max_ms, now_ms);
            self.counters.keys_expired.add(places.len() as u64);
            ended.extend(state.take_out(&places));
            let idle_max_ms = keep.idle_max_s.saturating_mul(1_000);
            let used = |idle: &Idle| {
                let stored = state.parked.get(&idle.environment);
                stored.is_some_and(|stored| matches!(stored.parked, Parked::Used(_)))
            };
            let idle = state.plan.idle();
            let stale = idle
                .into_iter()
                .take_while(|idle| idle.since_ms.saturating_add(idle_max_ms) <= now_ms)
                .take_while(used)
                .count();
            let places = state.plan.retire(stale);
            let mut stale = state.take_out(&places);
            // A renewal while nobody waits counts as a start: it ends with one more that is ready.
            let room = stale
                .iter()
                .take_while(|_| state.plan.start_ahead())
                .count();
            let without_room = stale.split_off(room);
            ((ended, without_room), stale, plan.start)
        };
        drop(ended);
        for Stored { parked, held, .. } in stale {
            self.refresh(parked, held);
        }
        for _ in 0..starts {
            if !self.start_ahead() {
                break;
            }
        }
    }
}

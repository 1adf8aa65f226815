//! Starting several environments before anybody needs them, and waiting for them.
//!
//! Nothing is claimed meanwhile, so that requests which come in between are served. Deliberately
//! absent: how many there are to be, which the controller says.

use std::sync::Arc;

use usher_engine::Engine;

use super::Pool;

impl<E: Engine> Pool<E> {
    /// Returns when there are so many environments; or when no more can be had just now: there is
    /// no room, a start has failed, or the pool was given up.
    pub(crate) async fn warm(self: &Arc<Self>, environments: usize) {
        let environments = environments.min(self.environments_max.get());
        let failed = self.counters.starts_failed.get();
        loop {
            let ended = self.start_ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            let counts = self.counts();
            let there = counts.environments() - counts.starting;
            if there >= environments || self.counters.starts_failed.get() > failed {
                return;
            }
            let mut starting = counts.starting;
            while there + starting < environments && self.start_ahead() {
                starting += 1;
            }
            if starting == 0 {
                return;
            }
            ended.await;
        }
    }
}

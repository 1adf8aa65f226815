//! Giving a pool up: nobody new is served, those who wait are, and then all environments end.

use usher_engine::Engine;

use super::Pool;

impl<E: Engine> Pool<E> {
    /// Whether it has no environment, nobody waits for one, and that for as long as an environment
    /// may be idle.
    pub(crate) fn unused(&self) -> bool {
        let idle_max_ms = self.revision.settings.keep.idle_max_s.saturating_mul(1_000);
        let now_ms = self.now_ms();
        let state = self.state.lock();
        let counts = state.plan.counts();
        counts.environments() == 0
            && counts.waiting == 0
            && state.touched_ms.saturating_add(idle_max_ms) <= now_ms
    }

    /// For how long nobody has used it, in milliseconds. None: it is in use, keeps state, or has
    /// environments that are to stand ready.
    pub(crate) fn unused_ms(&self) -> Option<u64> {
        let settings = &self.revision.settings;
        let now_ms = self.now_ms();
        let state = self.state.lock();
        let counts = state.plan.counts();
        let idle = counts.environments() == counts.idle && counts.waiting == 0;
        let stays = settings.keep.ready_min > 0;
        let keeps = settings.isolation.keeps() && counts.environments() > 0;
        (idle && !stays && !keeps).then(|| now_ms.saturating_sub(state.touched_ms))
    }

    /// Gives the pool up: nobody is served any more but those who wait already.
    pub(crate) fn close(&self) {
        let ended = {
            let mut state = self.state.lock();
            state.closed = true;
            state.end_idle()
        };
        drop(ended);
        self.quiet.notify_waiters();
    }

    /// Waits until a closed pool has no environment and nobody who waits for one.
    pub(crate) async fn emptied(&self) {
        loop {
            let quiet = self.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            let counts = self.counts();
            if counts.environments() == 0 && counts.waiting == 0 {
                return;
            }
            quiet.await;
        }
    }
}

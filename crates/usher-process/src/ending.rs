//! Programs that were asked to end, and are given the time that their functions grant.
//!
//! Deliberately absent: programs that end at once, which their sandbox sees to.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use usher_core::function::Limits;

use crate::served::Served;

/// Programs that may be ending at a time; any more are ended at once.
const ENDING_MAX: usize = 256;

/// The programs that are ending.
pub(crate) struct Endings {
    places: Arc<Semaphore>,
}

impl Default for Endings {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(ENDING_MAX)),
        }
    }
}

impl Endings {
    /// Asks a program to end, and ends it when its grace is over.
    pub(crate) fn begin(&self, served: Served, limits: &Limits) {
        let grace = Duration::from_millis(limits.grace_max_ms);
        let place = Arc::clone(&self.places).try_acquire_owned();
        let runtime = tokio::runtime::Handle::try_current();
        let (Ok(place), Ok(runtime)) = (place, runtime) else {
            return drop(served);
        };
        runtime.spawn(async move {
            let _place = place;
            served.program.terminate();
            // Whether it went by itself or not: it is gone afterwards.
            let _ = tokio::time::timeout(grace, served.program.exited()).await;
            drop(served);
        });
    }

    /// Waits until no program is ending any more.
    pub(crate) async fn ended(&self) {
        let all = u32::try_from(ENDING_MAX).unwrap_or(u32::MAX);
        // Never closed, so it can only be had.
        let _all = self.places.acquire_many(all).await;
    }
}

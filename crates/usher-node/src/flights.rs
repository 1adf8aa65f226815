//! How many invocations are under way, and the end of taking new ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The door of a node.
#[derive(Default)]
pub(crate) struct Flights {
    count: AtomicUsize,
    closed: AtomicBool,
    landed: Notify,
}

/// One invocation under way.
pub(crate) struct Flight(Arc<Flights>);

impl Flights {
    /// One more; none: the node takes no new ones.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<Flight> {
        // Counted first and asked then, so that `drained` never misses one.
        self.count.fetch_add(1, Ordering::SeqCst);
        let flight = Flight(self.clone());
        (!self.closed.load(Ordering::SeqCst)).then_some(flight)
    }

    /// Takes no new ones, and waits for those under way.
    pub(crate) async fn drained(&self) {
        self.closed.store(true, Ordering::SeqCst);
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            landed.as_mut().enable();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            landed.await;
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 && self.0.closed.load(Ordering::SeqCst)
        {
            self.0.landed.notify_waiters();
        }
    }
}

//! A place where a test can hold things, and wait until they have come so far.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Open at first; while it is held, whoever passes waits.
pub struct Gate {
    held: Mutex<Option<Arc<Semaphore>>>,
    arrivals: Semaphore,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            held: Mutex::new(None),
            arrivals: Semaphore::new(0),
        }
    }
}

impl Gate {
    /// From now on whoever comes waits.
    pub fn hold(&self) {
        self.held
            .lock()
            .get_or_insert_with(|| Arc::new(Semaphore::new(0)));
    }

    /// Lets so many through, be they here or still to come.
    pub fn let_through(&self, count: usize) {
        if let Some(held) = &*self.held.lock() {
            held.add_permits(count);
        }
    }

    /// Lets everybody through until it is held again.
    pub fn open(&self) {
        if let Some(held) = self.held.lock().take() {
            held.close();
        }
    }

    /// Waits until so many more have come than earlier calls waited for. Only those who find it
    /// held count.
    pub async fn arrived(&self, count: u32) {
        if let Ok(arrivals) = self.arrivals.acquire_many(count).await {
            arrivals.forget();
        }
    }

    /// Goes through, as soon as that is possible.
    pub async fn pass(&self) {
        let held = self.held.lock().clone();
        if let Some(held) = held {
            self.arrivals.add_permits(1);
            if let Ok(permit) = held.acquire().await {
                permit.forget();
            }
        }
    }
}

//! The turns of an HTTP/2 connection: each ends with all flushed that the client's windows allow.
//!
//! The task of one request cannot tell whether what it handed to the connection has been sent.
//! Two turns later it has: the first may have begun before, the second has not.
//!
//! Deliberately absent: HTTP/1.1, where request and connection are one task.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// Those of one connection.
#[derive(Default)]
pub(crate) struct Turns {
    ended: AtomicU64,
    connection: AtomicWaker,
    waiting: Mutex<Vec<Waker>>,
}

impl Turns {
    /// A turn begins, in the connection's task.
    pub(crate) fn begin(&self, cx: &Context<'_>) {
        self.connection.register(cx.waker());
    }

    /// It has ended, or the connection has.
    pub(crate) fn end(&self) {
        self.ended.fetch_add(1, Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The turn whose end tells that what was handed over until now is flushed.
    pub(crate) fn next(&self) -> u64 {
        self.ended.load(Relaxed) + 2
    }

    /// Waits for the end of a turn, and has the connection take one.
    pub(crate) fn poll_ended(&self, turn: u64, cx: &Context<'_>) -> Poll<()> {
        if self.ended.load(Relaxed) < turn {
            self.waiting.lock().push(cx.waker().clone());
        }
        // Once more, as a turn may have ended before this task stood in the list.
        if self.ended.load(Relaxed) >= turn {
            return Poll::Ready(());
        }
        self.connection.wake();
        Poll::Pending
    }
}

//! The time limits of one run.
//!
//! A short run never makes a timer: the first one is made when somebody polls the clock because
//! the run waits. Deliberately absent: what becomes of a run that is late.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};
use usher_core::fault::TimeLimit;
use usher_core::function::Limits;

/// Which limit of a run is under way, and when it ends.
pub struct Clock {
    limit: TimeLimit,
    limit_ms: u64,
    idle_max_ms: u64,
    total: Option<(Instant, u64)>,
    timer: Option<Pin<Box<Sleep>>>,
    seen: u64,
}

impl Clock {
    /// The limits of a run that begins now; the time to the first byte is under way.
    pub fn new(limits: &Limits) -> Self {
        let total = limits.total_max_ms;
        Self {
            limit: TimeLimit::FirstByte,
            limit_ms: limits.first_byte_max_ms,
            idle_max_ms: limits.idle_max_ms,
            total: total.map(|ms| (Instant::now() + Duration::from_millis(ms), ms)),
            timer: None,
            seen: 0,
        }
    }

    /// The reply's head has left: from now on it is the time between two pieces that is bounded.
    pub fn head_is_out(&mut self) {
        self.limit = TimeLimit::Idle;
        self.limit_ms = self.idle_max_ms;
        self.timer = None;
    }

    /// Ready with the limit that ran out and its bound in milliseconds. `progress` counts the
    /// pieces of bodies that went through; each begins the wait anew.
    pub fn poll(&mut self, cx: &mut Context<'_>, progress: u64) -> Poll<(TimeLimit, u64)> {
        loop {
            let timer = match &mut self.timer {
                Some(timer) => timer,
                None => {
                    self.seen = progress;
                    let at = Instant::now() + Duration::from_millis(self.limit_ms);
                    let at = self.total.map_or(at, |(total, _)| total.min(at));
                    self.timer.insert(Box::pin(sleep_until(at)))
                }
            };
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some((total, total_ms)) = self.total
                && Instant::now() >= total
            {
                return Poll::Ready((TimeLimit::Total, total_ms));
            }
            if progress == self.seen {
                return Poll::Ready((self.limit, self.limit_ms));
            }
            self.timer = None;
        }
    }
}

//! How long a connection may do nothing: the pulse that it shows, and what is made of it.
//!
//! ```text
//!   tick ─┬ a request is in flight, or one began since the last tick ──► Stay (idle 0)
//!         ├ a head was begun, or never one came ───────────────────────► Cut
//!         └ nothing at all ────────────────────────────────────────────► Stay (idle + 1), or Cut
//! ```
//!
//! One timer per connection instead of one per request: a request costs two relaxed additions
//! here, where setting and clearing a timer for each head costs an allocation and two locks.
//!
//! Deliberately absent: time limits of the function itself, which its engine keeps, and replies
//! that the client does not take, see `wire`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// What a connection shows of itself. Written by its own task only; atomic because tasks move.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    begun: AtomicU64,
    in_flight: AtomicU32,
    /// Whether bytes came in since the last request began or ended.
    stirred: AtomicBool,
}

impl Pulse {
    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        self.stirred.store(false, Relaxed);
    }

    /// Its reply is complete, or was given up.
    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
        self.stirred.store(false, Relaxed);
    }

    /// Bytes came in.
    pub(crate) fn stir(&self) {
        self.stirred.store(true, Relaxed);
    }
}

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stay,
    Cut,
}

/// What was seen of a connection at the last tick.
#[derive(Debug)]
pub(crate) struct Pace {
    begun: u64,
    idle_ticks: u64,
    idle_ticks_max: u64,
}

impl Pace {
    /// For ticks that come every `head_wait_max_ms`.
    pub(crate) fn new(head_wait_max_ms: u64, idle_wait_max_ms: u64) -> Self {
        Self {
            begun: 0,
            idle_ticks: 0,
            idle_ticks_max: idle_wait_max_ms.div_ceil(head_wait_max_ms.max(1)),
        }
    }

    /// One tick.
    pub(crate) fn tick(&mut self, pulse: &Pulse) -> Verdict {
        let begun = pulse.begun.load(Relaxed);
        if pulse.in_flight.load(Relaxed) > 0 || begun != self.begun {
            self.begun = begun;
            self.idle_ticks = 0;
            return Verdict::Stay;
        }
        self.idle_ticks += 1;
        let head_is_late = begun == 0 || pulse.stirred.load(Relaxed);
        if head_is_late || self.idle_ticks > self.idle_ticks_max {
            Verdict::Cut
        } else {
            Verdict::Stay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_never_completes_a_head_is_cut_at_the_first_tick() {
        let pulse = Pulse::default();
        pulse.stir();
        assert_eq!(Pace::new(10, 40).tick(&pulse), Verdict::Cut);
    }

    #[test]
    fn an_idle_connection_stays_for_the_idle_time_and_a_late_second_head_does_not() {
        let (pulse, mut pace) = (Pulse::default(), Pace::new(10, 20));
        pulse.begin();
        pulse.end();
        for _ in 0..3 {
            assert_eq!(pace.tick(&pulse), Verdict::Stay);
        }
        assert_eq!(
            pace.tick(&pulse),
            Verdict::Cut,
            "idle for longer than it may"
        );

        let (pulse, mut pace) = (Pulse::default(), Pace::new(10, 20));
        pulse.begin();
        pulse.end();
        assert_eq!(pace.tick(&pulse), Verdict::Stay);
        pulse.stir();
        assert_eq!(pace.tick(&pulse), Verdict::Cut, "the second head was begun");
    }

    #[test]
    fn a_request_in_flight_is_never_cut_by_the_pace() {
        let (pulse, mut pace) = (Pulse::default(), Pace::new(10, 20));
        pulse.begin();
        for _ in 0..100 {
            pulse.stir();
            assert_eq!(pace.tick(&pulse), Verdict::Stay);
        }
    }
}

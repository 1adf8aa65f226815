//! How long a connection may do nothing: the pulse that it shows, and what is made of it.
//!
//! ```text
//!   tick ─┬ a request is in flight, or one began since the last tick ──► Stay (idle 0)
//!         ├ a head was begun, or never one came ───────────────────────► Cut
//!         └ nothing at all ───────────────────► Stay (idle + 1); for too long ─► Part, then Cut
//! ```
//!
//! One timer per connection instead of one per request: a request costs two relaxed additions
//! here, where setting and clearing a timer for each head costs an allocation and two locks.
//!
//! A connection of HTTP/2 carries many requests at once, and its bytes may belong to none of them.
//! So bytes say nothing of a head there; instead those are counted that no request comes of.
//!
//! Deliberately absent: time limits of the function itself, which its engine keeps, replies that
//! the client does not take, see `wire` and `streams`, and bodies that stall, see `inbound`.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// What a connection shows of itself. The counters are a request's, which on HTTP/2 has a task of
/// its own; the rest is written by the connection's.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    begun: AtomicU64,
    in_flight: AtomicU32,
    /// Requests that were given up before their reply was complete, less those that functions
    /// served.
    abandoned: AtomicU32,
    /// Whether bytes came in since the last request began or ended; HTTP/1.1 only.
    stirred: AtomicBool,
    /// Bytes that came in since a request began or a body moved; HTTP/2 only.
    chatter_bytes: AtomicU64,
}

impl Pulse {
    /// A request's head is complete.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        self.stirred.store(false, Relaxed);
        self.chatter_bytes.store(0, Relaxed);
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

    /// So many bytes came in on HTTP/2. Returns how many no request and no body came of.
    pub(crate) fn hear(&self, bytes: u64) -> u64 {
        self.chatter_bytes.fetch_add(bytes, Relaxed) + bytes
    }

    /// A piece of a body moved on HTTP/2, so the client does not only talk.
    pub(crate) fn moved(&self) {
        self.chatter_bytes.store(0, Relaxed);
    }

    /// A request of HTTP/2 ended: given up by its client, or served by its function, which makes
    /// good for one that was given up.
    pub(crate) fn settle(&self, given_up: bool) {
        let next = |count: u32| match given_up {
            true => count.checked_add(1),
            false => count.checked_sub(1),
        };
        // Fails only at the ends of the scale, where the count stays.
        let _ = self.abandoned.fetch_update(Relaxed, Relaxed, next);
    }

    /// How many more requests were given up than were served.
    pub(crate) fn abandoned(&self) -> u32 {
        self.abandoned.load(Relaxed)
    }
}

/// Whether a connection may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stay,
    /// It is to end in peace, if it can.
    Part,
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
        match self.idle_ticks.saturating_sub(self.idle_ticks_max) {
            _ if head_is_late => Verdict::Cut,
            0 => Verdict::Stay,
            1 => Verdict::Part,
            _ => Verdict::Cut,
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
        let idle = "idle for longer than it may";
        assert_eq!(pace.tick(&pulse), Verdict::Part, "{idle}");
        assert_eq!(pace.tick(&pulse), Verdict::Cut, "{idle}");

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

    #[test]
    fn what_no_request_comes_of_is_counted_until_one_begins_or_a_body_moves() {
        let pulse = Pulse::default();
        assert_eq!(pulse.hear(10), 10);
        assert_eq!(pulse.hear(5), 15);
        pulse.begin();
        assert_eq!(pulse.hear(1), 1);
        pulse.moved();
        assert_eq!(pulse.hear(2), 2);
    }

    #[test]
    fn a_request_that_ends_makes_good_for_one_that_was_given_up() {
        let pulse = Pulse::default();
        pulse.settle(false);
        assert_eq!(pulse.abandoned(), 0, "nothing is saved up");
        for _ in 0..3 {
            pulse.settle(true);
        }
        pulse.settle(false);
        assert_eq!(pulse.abandoned(), 2);
    }
}

//! What the gateway counts: outcomes, how requests were served, and how long callers waited.
//!
//! Every function has its own atomics, which requests touch with relaxed additions and nobody
//! locks. Deliberately absent: how figures are printed (the API's `/metrics`), and ids, which
//! would make a label of every request.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;
use usher_core::fault::Fault;
use usher_core::id::FunctionKey;
use usher_core::proof::{Proof, Renewal, Start};

/// What may become of a request: the class of the function's own status, or the label of a fault.
const OUTCOMES: [&str; 25] = [
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "other",
    "no-such-function",
    "bad-request",
    "body-too-large",
    "caller-gone",
    "busy",
    "trap",
    "out-of-memory",
    "time-out",
    "start-failed",
    "unavailable",
    "draining",
    "bad-key",
    "head-too-large",
    "slow-body",
    "owner-busy",
    "key-needed",
    "bad-event",
    "event-form",
    "event-too-large",
    "bad-reply-event",
];

const STARTS: [Start; 3] = [Start::Warm, Start::Cold, Start::Joined];
const RENEWALS: [Renewal; 5] = [
    Renewal::Swap,
    Renewal::InPlace,
    Renewal::Fresh,
    Renewal::Replaced,
    Renewal::Kept,
];

/// The histogram's first bound, in microseconds; each further one is twice the one before.
const FIRST_BOUND_US: u64 = 16;
/// Bounds up to 67 s, and one bucket for what is beyond.
const BUCKETS: usize = 24;

/// Which of [`OUTCOMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome(usize);

impl Outcome {
    pub(crate) const CALLER_GONE: Self = Self(8);

    pub(crate) fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            200..300 => Self(0),
            300..400 => Self(1),
            400..500 => Self(2),
            500..600 => Self(3),
            _ => Self(4),
        }
    }

    pub(crate) fn of_fault(fault: &Fault) -> Self {
        Self(match fault {
            Fault::NoSuchFunction => 5,
            Fault::BadRequest => 6,
            Fault::BodyTooLarge { .. } => 7,
            Fault::CallerGone => 8,
            Fault::Busy { .. } => 9,
            Fault::Trap => 10,
            Fault::OutOfMemory { .. } => 11,
            Fault::TimeOut { .. } => 12,
            Fault::StartFailed => 13,
            Fault::Unavailable => 14,
            Fault::Draining => 15,
            Fault::BadKey { .. } => 16,
            Fault::HeadTooLarge { .. } => 17,
            Fault::SlowBody { .. } => 18,
            Fault::OwnerBusy { .. } => 19,
            Fault::KeyNeeded => 20,
            Fault::BadEvent { .. } => 21,
            Fault::EventForm { .. } => 22,
            Fault::EventTooLarge { .. } => 23,
            Fault::BadReplyEvent { .. } => 24,
        })
    }
}

/// The counters of one function, or of the requests that reached none.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    outcomes: [AtomicU64; OUTCOMES.len()],
    served: [[AtomicU64; RENEWALS.len()]; STARTS.len()],
    waits: [AtomicU64; BUCKETS],
    waits_us: AtomicU64,
}

impl Meter {
    /// A reply's head is ready, so long after the request's head was.
    pub(crate) fn head_ready(&self, after: Duration, proof: Option<&Proof>) {
        let us = u64::try_from(after.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        self.waits[bucket(us)].fetch_add(1, Relaxed);
        self.waits_us.fetch_add(us, Relaxed);
        if let Some(proof) = proof {
            self.served[proof.start as usize][proof.renewal as usize].fetch_add(1, Relaxed);
        }
    }

    /// A request has ended.
    pub(crate) fn ended(&self, outcome: Outcome) {
        self.outcomes[outcome.0].fetch_add(1, Relaxed);
    }

    pub(crate) fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Relaxed));
        OUTCOMES
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    pub(crate) fn served(&self) -> Vec<ServedCount> {
        let mut counts = Vec::new();
        for (start, row) in STARTS.into_iter().zip(&self.served) {
            for (renewal, count) in RENEWALS.into_iter().zip(row) {
                let count = count.load(Relaxed);
                if count > 0 {
                    counts.push(ServedCount {
                        start,
                        renewal,
                        count,
                    });
                }
            }
        }
        counts
    }

    pub(crate) fn latency(&self) -> Latency {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BUCKETS - 1);
        for (at, bucket) in self.waits.iter().enumerate() {
            count += bucket.load(Relaxed);
            if at + 1 < BUCKETS {
                buckets.push((FIRST_BOUND_US << at, count));
            }
        }
        Latency {
            buckets,
            count,
            sum_us: self.waits_us.load(Relaxed),
        }
    }
}

/// The first bucket whose bound is not below `us`.
fn bucket(us: u64) -> usize {
    let doublings = us.div_ceil(FIRST_BOUND_US).next_power_of_two().ilog2();
    (doublings as usize).min(BUCKETS - 1)
}

/// One function's figures since the gateway began to serve it.
#[derive(Clone, Debug)]
pub struct FunctionFigures {
    /// Which.
    pub function: FunctionKey,
    /// The number of the revision that serves now.
    pub revision: u64,
    /// Requests that have ended, by the class of the function's status (`2xx`) or by the label of
    /// the fault; those that never occurred are left out.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Requests by how they were served; those ways that never occurred are left out.
    pub served: Vec<ServedCount>,
    /// Requests that run now.
    pub running: usize,
    /// Requests that wait now.
    pub waiting: usize,
    /// From the request's head to the reply's head.
    pub head_latency: Latency,
}

/// How many requests were served in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServedCount {
    /// How the environment was come by.
    pub start: Start,
    /// How the area had become clean.
    pub renewal: Renewal,
    /// How many.
    pub count: u64,
}

/// A histogram of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Upper bounds in microseconds, each with the number of times up to it (cumulative).
    pub buckets: Vec<(u64, u64)>,
    /// All of them, those beyond the last bound included.
    pub count: u64,
    /// Their sum, in microseconds.
    pub sum_us: u64,
}

/// The figures of a whole gateway.
#[derive(Clone, Debug)]
pub struct GatewayFigures {
    /// By function, in the order of owner and name.
    pub functions: Vec<FunctionFigures>,
    /// Requests that reached no function, by label.
    pub unrouted: Vec<(&'static str, u64)>,
    /// Connections that are open.
    pub connections: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Requests that run now, over all functions.
    pub running: usize,
    /// Requests that wait now, over all functions.
    pub waiting: usize,
}

#[cfg(test)]
mod tests {
    use usher_core::fault::TimeLimit;
    use usher_core::key::KeyFlaw;

    use super::*;

    #[test]
    fn outcomes_carry_the_labels_of_the_judgement() {
        for fault in [
            Fault::NoSuchFunction,
            Fault::BadRequest,
            Fault::BodyTooLarge { body_max_bytes: 1 },
            Fault::CallerGone,
            Fault::Busy { retry_after_s: 1 },
            Fault::Trap,
            Fault::OutOfMemory {
                memory_max_bytes: 1,
            },
            Fault::TimeOut {
                limit: TimeLimit::Idle,
                limit_ms: 1,
            },
            Fault::StartFailed,
            Fault::Unavailable,
            Fault::Draining,
            Fault::BadKey {
                header: "x-tenant".to_owned(),
                flaw: KeyFlaw::Missing,
            },
            Fault::HeadTooLarge { headers_max: 1 },
            Fault::SlowBody {
                body_stall_max_ms: 1,
            },
            Fault::OwnerBusy {
                quota: usher_core::owner::Quota::Rate,
                retry_after_s: 1,
            },
            Fault::KeyNeeded,
            Fault::BadEvent {
                mistakes: String::new(),
            },
            Fault::EventForm {
                form: String::new(),
            },
            Fault::EventTooLarge { event_max_bytes: 1 },
            Fault::BadReplyEvent {
                mistakes: String::new(),
            },
        ] {
            assert_eq!(OUTCOMES[Outcome::of_fault(&fault).0], fault.judge().label);
        }
        assert_eq!(
            OUTCOMES[Outcome::CALLER_GONE.0],
            Fault::CallerGone.judge().label
        );
    }

    #[test]
    fn every_time_falls_into_the_first_bucket_that_holds_it() {
        for (us, at) in [(0, 0), (16, 0), (17, 1), (32, 1), (33, 2), (u64::MAX, 23)] {
            assert_eq!(bucket(us), at, "{us} us");
        }
        let meter = Meter::default();
        meter.head_ready(Duration::from_micros(40), None);
        meter.head_ready(Duration::from_secs(3_600), None);
        let latency = meter.latency();
        assert_eq!(latency.count, 2);
        assert_eq!(latency.buckets[1], (32, 0));
        assert_eq!(latency.buckets[2], (64, 1));
        assert_eq!(latency.buckets.last(), Some(&(FIRST_BOUND_US << 22, 1)));
    }

    #[test]
    fn ways_of_serving_stand_at_their_own_place() {
        for (at, start) in STARTS.into_iter().enumerate() {
            assert_eq!(start as usize, at);
        }
        for (at, renewal) in RENEWALS.into_iter().enumerate() {
            assert_eq!(renewal as usize, at);
        }
    }
}

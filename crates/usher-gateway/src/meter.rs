//! What the gateway counts: outcomes, how requests were served, and how long callers waited.
//!
//! Every function has its own atomics, which requests touch with relaxed additions and nobody
//! locks. Deliberately absent: how figures are printed (the API's `/metrics`), and ids, which
//! would make a label of every request.

mod figures;
mod http;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use ::http::StatusCode;
use usher_core::fault::Fault;
use usher_core::proof::{Proof, Renewal, Start};
use usher_core::trace::TraceParent;

pub use self::figures::{Brief, Figures, FunctionFigures, GatewayFigures, Latency, ServedCount};
use self::http::HttpMeter;
pub use self::http::{Example, HttpFigures, SeriesFigures};
pub(crate) use self::http::{MethodCode, SeriesKey};

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
    /// For what is not told apart by its outcome.
    const NONE: Self = Self(usize::MAX);

    /// Whether the function or the platform failed. What callers did wrong is none.
    fn is_error(self) -> bool {
        self.0 == 3 || (9..16).contains(&self.0) || OUTCOMES.get(self.0) == Some(&"bad-reply-event")
    }

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
    /// Requests that have begun; all that have ended are among them.
    begun: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES.len()],
    served: [[AtomicU64; RENEWALS.len()]; STARTS.len()],
    waits: [AtomicU64; BUCKETS],
    waits_us: AtomicU64,
    /// Made by the first request that ends: most of many functions are seldom called.
    http: OnceLock<Box<HttpMeter>>,
}

/// What is counted of a request that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) key: SeriesKey,
    pub(crate) took: Duration,
    /// The request's body as it was announced, in bytes.
    pub(crate) request_bytes: Option<u64>,
    /// What was sent of the reply's body, in bytes.
    pub(crate) reply_bytes: Option<u64>,
    /// Where its trace was recorded.
    pub(crate) trace: Option<TraceParent>,
}

impl Meter {
    /// A request has come.
    pub(crate) fn begun(&self) {
        self.begun.fetch_add(1, Relaxed);
    }

    /// Whether there ever was a request.
    pub(crate) fn is_touched(&self) -> bool {
        self.begun.load(Relaxed) > 0
    }

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
    pub(crate) fn ended(&self, ended: Ended) {
        self.outcomes[ended.key.outcome.0].fetch_add(1, Relaxed);
        let http = self.http.get_or_init(Box::default);
        let took_ns = u64::try_from(ended.took.as_nanos()).unwrap_or(u64::MAX);
        http.ended(ended.key, took_ns, ended.trace);
        http.bodies(ended.request_bytes, ended.reply_bytes);
    }

    /// What was counted so far, added to what was counted of others.
    pub(crate) fn read(&self, into: &mut Figures) {
        // Read before those that have ended, so that a request which ends meanwhile does not make
        // fewer than none active.
        let begun = self.begun.load(Relaxed);
        let mut ended = 0;
        for (outcome, count) in self.outcomes() {
            ended += count;
            *into.outcomes.entry(outcome).or_default() += count;
        }
        into.active += begun.saturating_sub(ended);
        into.begun += begun;
        let outcomes = (0..OUTCOMES.len()).map(Outcome).zip(&self.outcomes);
        let errors = outcomes.filter(|(outcome, _)| outcome.is_error());
        into.errors += errors.map(|(_, count)| count.load(Relaxed)).sum::<u64>();
        for served in self.served() {
            let known = into.served.iter_mut().find(|known| known.is_like(&served));
            match known {
                Some(known) => known.count += served.count,
                None => into.served.push(served),
            }
        }
        into.head_latency.add(&self.latency());
        if let Some(http) = self.http.get() {
            http.read(&mut into.http);
        }
    }

    /// The little that a table of all functions shows.
    pub(crate) fn brief(&self) -> Brief {
        let mut ended = 0;
        let mut errors = 0;
        let begun = self.begun.load(Relaxed);
        for (at, count) in self.outcomes.iter().enumerate() {
            let count = count.load(Relaxed);
            ended += count;
            errors += if Outcome(at).is_error() { count } else { 0 };
        }
        let cold = [Start::Cold as usize, Start::Joined as usize].map(|start| &self.served[start]);
        Brief {
            begun,
            active: begun.saturating_sub(ended),
            errors,
            cold: cold
                .into_iter()
                .flatten()
                .map(|count| count.load(Relaxed))
                .sum(),
            heads: std::array::from_fn(|at| self.waits[at].load(Relaxed)),
        }
    }

    fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let counts = self.outcomes.iter().map(|count| count.load(Relaxed));
        OUTCOMES
            .into_iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    fn served(&self) -> Vec<ServedCount> {
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

    fn latency(&self) -> Latency {
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

//! What the gateway tells of what it has counted.
//!
//! Deliberately absent: counting, and how figures are printed.

use std::collections::{BTreeMap, HashSet};

use usher_core::histogram::quantile;
use usher_core::id::FunctionKey;
use usher_core::proof::{Renewal, Start};

use super::http::HttpFigures;
use super::{BUCKETS, FIRST_BOUND_US};

/// What was counted of one function, or of several together, since the gateway began.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Requests that have begun.
    pub begun: u64,
    /// Requests that have begun and not ended.
    pub active: u64,
    /// Requests that have ended, by the class of the function's status (`2xx`) or by the label of
    /// the fault; those that never occurred are left out.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Those of them that failed: by a fault, or by a status of 500 or above.
    pub errors: u64,
    /// Requests by how they were served; those ways that never occurred are left out.
    pub served: Vec<ServedCount>,
    /// Requests that run now.
    pub running: usize,
    /// Requests that wait now.
    pub waiting: usize,
    /// From the request's head to the reply's head.
    pub head_latency: Latency,
    /// As HTTP sees them.
    pub http: HttpFigures,
}

impl Figures {
    /// Adds those of others.
    pub(crate) fn merge(&mut self, others: &Self) {
        self.begun += others.begun;
        self.active += others.active;
        self.errors += others.errors;
        for (outcome, count) in &others.outcomes {
            *self.outcomes.entry(outcome).or_default() += count;
        }
        for served in &others.served {
            let known = self.served.iter_mut().find(|known| known.is_like(served));
            match known {
                Some(known) => known.count += served.count,
                None => self.served.push(*served),
            }
        }
        self.running += others.running;
        self.waiting += others.waiting;
        self.head_latency.add(&others.head_latency);
        self.http.merge(&others.http);
    }
}

/// One function's figures.
#[derive(Clone, Debug)]
pub struct FunctionFigures {
    /// Which; none: all those that have no figures of their own.
    pub function: Option<FunctionKey>,
    /// What was counted.
    pub figures: Figures,
}

/// The little of one function that a table of all functions shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brief {
    /// Requests that have begun.
    pub begun: u64,
    /// Requests that have begun and not ended.
    pub active: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Requests that waited for an environment to be started.
    pub cold: u64,
    pub(super) heads: [u64; BUCKETS],
}

impl Brief {
    /// What came since an earlier look.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let heads = self.heads.iter().zip(&before.heads);
        let mut heads = heads.map(|(now, then)| now.saturating_sub(*then));
        Self {
            begun: self.begun.saturating_sub(before.begun),
            active: self.active,
            errors: self.errors.saturating_sub(before.errors),
            cold: self.cold.saturating_sub(before.cold),
            heads: std::array::from_fn(|_| heads.next().unwrap_or_default()),
        }
    }

    /// The time within which this share of replies' heads was there, in microseconds, rounded up;
    /// none: there were no replies.
    pub fn head_us(&self, share: f64) -> Option<u64> {
        let bounds: [u64; BUCKETS - 1] = std::array::from_fn(|at| FIRST_BOUND_US << at);
        let us = quantile(&bounds, &self.heads, share)?;
        // The last bound is 67 s.
        #[expect(clippy::cast_possible_truncation, reason = "far below the bound")]
        #[expect(clippy::cast_sign_loss, reason = "between two bounds")]
        Some(us.ceil() as u64)
    }
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

impl ServedCount {
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (self.start, self.renewal) == (other.start, other.renewal)
    }
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

impl Latency {
    pub(super) fn add(&mut self, other: &Self) {
        if self.buckets.is_empty() {
            *self = other.clone();
            return;
        }
        for ((_, mine), (_, theirs)) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }
}

/// The figures of a whole gateway.
#[derive(Clone, Debug)]
pub struct GatewayFigures {
    /// By function, in the order of owner and name, those that were never called left out; last,
    /// where there are more than were asked for, all others together.
    pub functions: Vec<FunctionFigures>,
    /// All functions that there are, those that were never called included.
    pub known: HashSet<FunctionKey>,
    /// Requests that reached no function.
    pub unrouted: Figures,
    /// Connections that are open.
    pub connections: usize,
    /// Connections accepted since the start.
    pub accepted: u64,
    /// Requests that run now, over all functions.
    pub running: usize,
    /// Requests that wait now, over all functions.
    pub waiting: usize,
}

//! The account of one request that reached a function: its permit and what became of it.
//!
//! It is settled by drop, so that no way out of a request can forget it: whoever is dropped before
//! it has said otherwise belongs to a caller who went away.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use usher_core::fault::Fault;
use usher_core::proof::Proof;

use crate::door::Permit;
use crate::meter::Outcome;
use crate::table::Entry;

/// See the module.
pub(crate) struct Tally {
    entry: Arc<Entry>,
    started: Instant,
    outcome: Outcome,
    /// Held for as long as the reply's body may still be made.
    permit: Option<Permit>,
}

impl Tally {
    pub(crate) fn open(entry: Arc<Entry>, started: Instant) -> Self {
        Self {
            entry,
            started,
            outcome: Outcome::CALLER_GONE,
            permit: None,
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// The request runs.
    pub(crate) fn admitted(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// The function has answered.
    pub(crate) fn head_ready(&self, proof: &Proof) {
        self.entry
            .meter
            .head_ready(self.started.elapsed(), Some(proof));
    }

    /// The caller was given the whole reply.
    pub(crate) fn complete(&mut self, status: StatusCode) {
        self.outcome = Outcome::of_status(status);
    }

    /// The request failed, or its reply broke off.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        self.outcome = Outcome::of_fault(fault);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.entry.meter.ended(self.outcome);
    }
}

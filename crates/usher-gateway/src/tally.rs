//! The account of one request: its permit, what became of it, and its trace where that is recorded.
//!
//! It is settled by drop, so that no way out of a request can forget it: whoever is dropped before
//! it has said otherwise belongs to a caller who went away.

use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use usher_api::trace::{End, Recording};
use usher_core::fault::Fault;
use usher_core::proof::Proof;

use crate::door::Permit;
use crate::meter::{Ended, Meter, MethodCode, Outcome, SeriesKey};
use crate::table::Entry;

/// A request of which it is not known yet whom it is for.
pub(crate) struct Arrival {
    pub(crate) started: Instant,
    pub(crate) method: MethodCode,
    /// Whether it came by TLS.
    pub(crate) secure: bool,
    /// Where its trace is recorded.
    pub(crate) recording: Option<Recording>,
}

/// See the module.
pub(crate) struct Tally {
    entry: Arc<Entry>,
    arrival: Arrival,
    outcome: Outcome,
    /// What the caller has got, or will.
    status: Option<StatusCode>,
    fault: Option<&'static str>,
    proof: Option<Proof>,
    request_bytes: Option<u64>,
    reply_bytes: Option<u64>,
    /// Held for as long as the reply's body may still be made.
    permit: Option<Permit>,
}

impl Arrival {
    pub(crate) fn new(
        method: &Method,
        secure: bool,
        started: Instant,
        recording: Option<Recording>,
    ) -> Self {
        Self {
            started,
            method: MethodCode::of(method),
            secure,
            recording,
        }
    }

    /// It reached no function.
    pub(crate) fn unrouted(self, meter: &Meter, fault: &Fault) {
        let judged = fault.judge();
        let outcome = Outcome::of_fault(fault);
        self.end(meter, judged.status, outcome, Some(judged.label));
    }

    /// The gateway answered it for the function.
    pub(crate) fn answered(self, meter: &Meter, status: StatusCode) {
        self.end(meter, status.as_u16(), Outcome::of_status(status), None);
    }

    fn end(self, meter: &Meter, status: u16, outcome: Outcome, fault: Option<&'static str>) {
        meter.begun();
        meter.ended(Ended {
            key: SeriesKey {
                method: self.method,
                secure: self.secure,
                status,
                outcome,
            },
            took: self.started.elapsed(),
            request_bytes: None,
            reply_bytes: None,
            trace: self.recording.as_ref().map(Recording::span),
        });
        if let Some(recording) = self.recording {
            recording.end(End {
                status: Some(status),
                fault,
                proof: None,
            });
        }
    }
}

impl Tally {
    pub(crate) fn open(entry: Arc<Entry>, arrival: Arrival) -> Self {
        entry.meter.begun();
        if let Some(recording) = &arrival.recording {
            recording.runs(&entry.revision);
        }
        Self {
            entry,
            arrival,
            outcome: Outcome::CALLER_GONE,
            status: None,
            fault: None,
            proof: None,
            request_bytes: None,
            reply_bytes: None,
            permit: None,
        }
    }

    pub(crate) fn started(&self) -> Instant {
        self.arrival.started
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    /// Its trace, where it is recorded.
    pub(crate) fn recording(&self) -> Option<&Recording> {
        self.arrival.recording.as_ref()
    }

    /// The request's body has this length, if that is known before.
    pub(crate) fn asks_with(&mut self, body_bytes: Option<u64>) {
        self.request_bytes = body_bytes;
    }

    /// The request runs.
    pub(crate) fn admitted(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// The function has answered.
    pub(crate) fn head_ready(&mut self, status: StatusCode, proof: &Proof) {
        (self.status, self.proof) = (Some(status), Some(*proof));
        self.reply_bytes = Some(0);
        let after = self.arrival.started.elapsed();
        self.entry.meter.head_ready(after, Some(proof));
    }

    /// So much of the reply's body is on its way.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.reply_bytes = Some(self.reply_bytes.unwrap_or(0).saturating_add(bytes));
    }

    /// The caller was given the whole reply.
    pub(crate) fn complete(&mut self, status: StatusCode) {
        self.outcome = Outcome::of_status(status);
    }

    /// The request failed, or its reply broke off.
    pub(crate) fn failed(&mut self, fault: &Fault) {
        let judged = fault.judge();
        self.outcome = Outcome::of_fault(fault);
        self.fault = Some(judged.label);
        let told = !matches!(fault, Fault::CallerGone);
        let answer = StatusCode::from_u16(judged.status).ok().filter(|_| told);
        self.status = self.status.or(answer);
    }

    /// The run that failed had begun in an environment.
    pub(crate) fn ran(&mut self, proof: Option<Proof>) {
        self.proof = self.proof.or(proof);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let gone = self.outcome == Outcome::CALLER_GONE;
        let fault = gone.then(|| Fault::CallerGone.judge().label).or(self.fault);
        let status = self.status.map(|status| status.as_u16());
        self.entry.meter.ended(Ended {
            key: SeriesKey {
                method: self.arrival.method,
                secure: self.arrival.secure,
                status: status.unwrap_or(0),
                outcome: self.outcome,
            },
            took: self.arrival.started.elapsed(),
            request_bytes: self.request_bytes,
            reply_bytes: self.reply_bytes,
            trace: self.recording().map(Recording::span),
        });
        if let Some(recording) = self.recording() {
            recording.end(End {
                status,
                fault,
                proof: self.proof,
            });
        }
    }
}

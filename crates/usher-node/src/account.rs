//! One invocation's account: counted once and logged once, however it ends.

use std::sync::Arc;

use tokio::time::Instant;
use usher_api::body::Body;
use usher_core::fault::Fault;
use usher_core::id::{RequestId, RevisionId};
use usher_core::key::Key;
use usher_core::proof::Proof;

use crate::logs::{FunctionLog, Served};
use crate::metrics::Counters;

/// Dropped without an end, the caller has gone away.
pub(crate) struct Account {
    counters: Arc<Counters>,
    log: Arc<FunctionLog>,
    revision: RevisionId,
    request: RequestId,
    method: http::Method,
    /// A copy: the URI's own text would keep the buffer alive that the whole head was read into.
    path: Option<Box<str>>,
    key: Option<Key>,
    begun: Instant,
    open: bool,
}

impl Account {
    /// Begins with the receipt of a request.
    pub(crate) fn open(
        counters: Arc<Counters>,
        log: Arc<FunctionLog>,
        revision: RevisionId,
        id: RequestId,
        key: Option<Key>,
        request: &http::Request<Body>,
    ) -> Self {
        Self {
            counters,
            log,
            revision,
            request: id,
            method: request.method().clone(),
            path: Some(request.uri().path().into()),
            key,
            begun: Instant::now(),
            open: true,
        }
    }

    /// When the request was received.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// Which request it is.
    pub(crate) fn request(&self) -> RequestId {
        self.request
    }

    /// The request's method.
    pub(crate) fn method(&self) -> &http::Method {
        &self.method
    }

    /// The response's head is there.
    pub(crate) fn served(mut self, status: http::StatusCode, proof: &Proof) {
        self.counters.served(proof);
        self.close(status.as_u16(), Some(*proof), None);
    }

    /// There is no response. `cause` is for the log.
    pub(crate) fn failed(mut self, fault: &Fault, proof: Option<Proof>, cause: Option<&str>) {
        self.fail(fault, proof, cause);
    }

    fn fail(&mut self, fault: &Fault, proof: Option<Proof>, cause: Option<&str>) {
        self.counters.failed(fault);
        let error = match cause {
            Some(cause) => format!("{fault}: {cause}"),
            None => fault.to_string(),
        };
        self.close(fault.judge().status, proof, Some(error));
    }

    fn close(&mut self, status: u16, proof: Option<Proof>, error: Option<String>) {
        self.open = false;
        let took_us = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let served = Served {
            method: self.method.clone(),
            path: self.path.take(),
            status,
            took_us,
            key: self.key.take(),
            proof,
            error,
        };
        self.log.served(self.revision, self.request, served);
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.open {
            self.fail(&Fault::CallerGone, None, None);
        }
    }
}

//! Whether a request's trace is recorded, and what the function is told of it.
//!
//! ```text
//!   no sink ───────────────────────────► the head as it is: one load, one branch
//!   not taken ─► caller's own, or "not recorded"
//!   taken ─► Recording, and the request's own span as the function's parent
//! ```
//!
//! Deliberately absent: `tracestate`, which the head carries on as it is.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, request};
use usher_api::trace::{About, Recording, TraceSink};
use usher_core::trace::{TRACEPARENT, TraceParent};

use crate::stamp::Stamp;

static TRACE_PARENT: HeaderName = HeaderName::from_static(TRACEPARENT);
static TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
/// What of a caller's `tracestate` is told to whom traces go, in bytes: the least that everybody
/// has to hand on.
const STATE_MAX_BYTES: usize = 512;

/// Where traces go; nowhere until somebody wants them.
#[derive(Default)]
pub(crate) struct Traces(OnceLock<Arc<dyn TraceSink>>);

/// What is known of a request's trace.
pub(crate) struct Traced {
    pub(crate) recording: Option<Recording>,
    /// What the function is told in the place of what the head says.
    told: Option<TraceParent>,
}

impl Traces {
    /// From now on traces go there. Said once; later words are not heard.
    pub(crate) fn go_to(&self, sink: Arc<dyn TraceSink>) {
        let _first = self.0.set(sink);
    }

    /// Looks at a request whose head was read at `started`.
    pub(crate) fn begin(
        &self,
        parts: &request::Parts,
        secure: bool,
        stamp: &Stamp,
        started: Instant,
    ) -> Traced {
        match self.0.get() {
            None => Traced {
                recording: None,
                told: None,
            },
            Some(sink) => begun(sink, parts, secure, stamp, started),
        }
    }
}

fn begun(
    sink: &Arc<dyn TraceSink>,
    parts: &request::Parts,
    secure: bool,
    stamp: &Stamp,
    started: Instant,
) -> Traced {
    let caller = parent(&parts.headers);
    let own = match caller {
        Some(caller) => Some(caller.child(stamp.span_id())),
        None => TraceParent::begin(stamp.id, stamp.span_id(), true),
    };
    let decided = caller.map(|caller| caller.sampled);
    let Some(own) = own.filter(|own| sink.takes(own.trace_id, decided)) else {
        let unrecorded = own.filter(|_| caller.is_none()).map(|own| TraceParent {
            sampled: false,
            ..own
        });
        return Traced {
            recording: None,
            told: unrecorded,
        };
    };
    let span = TraceParent {
        sampled: true,
        ..own
    };
    let about = About {
        request: stamp.id,
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        secure,
        version: parts.version,
        state: caller.and_then(|_| state(&parts.headers)),
    };
    let sink = Arc::clone(sink);
    let parent = caller.map(|caller| caller.parent_id);
    Traced {
        recording: Some(Recording::begin(sink, span, parent, started, about)),
        told: Some(span),
    }
}

/// The caller's place in a trace, where it can be read, and is one only.
pub(crate) fn parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut parents = headers.get_all(&TRACE_PARENT).iter();
    let (Some(parent), None) = (parents.next(), parents.next()) else {
        return None;
    };
    parent.to_str().ok()?.parse().ok()
}

fn state(headers: &HeaderMap) -> Option<String> {
    let states = headers.get_all(&TRACE_STATE).iter();
    let states: Vec<_> = states.filter_map(|state| state.to_str().ok()).collect();
    let whole = states.join(",");
    (!whole.is_empty() && whole.len() <= STATE_MAX_BYTES).then_some(whole)
}

impl Traced {
    /// Tells the function, in the head that is made for it.
    pub(crate) fn hand_on(&self, parts: &mut request::Parts) {
        let told = self.told.map(|told| told.to_string());
        if let Some(value) = told.and_then(|told| HeaderValue::from_maybe_shared(told).ok()) {
            parts.headers.insert(&TRACE_PARENT, value);
        }
        if let Some(recording) = &self.recording {
            parts.extensions.insert(recording.clone());
        }
    }
}

//! The trace of one request, as it goes from role to role, and where it goes when all is known.
//!
//! ```text
//! gateway: begun ─► node: steps, one after the other ─► gateway: ended
//!                     └► renewal, behind the reply       └► last holder drops it ─► sink
//! ```
//!
//! A [`Recording`] travels in the extensions of the request. Only requests whose trace is recorded
//! have one, so that all others pay for a look and nothing else.
//!
//! Deliberately absent: how traces are sent, and spans that nobody asked for.

use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use usher_core::function::Revision;
use usher_core::id::RequestId;
use usher_core::proof::Proof;
use usher_core::trace::{Step, TraceParent};

/// Steps of one request that are recorded. One that loses its environment again and again has
/// more, and only the first of them are told.
const STEPS_MAX: usize = 64;

/// Takes traces that are over. Must not block.
pub trait TraceSink: Send + Sync + 'static {
    /// Whether this trace is recorded; `parent` is what the caller has decided, if there was one.
    fn takes(&self, trace: NonZeroU128, parent: Option<bool>) -> bool;

    /// The trace of a request.
    fn request(&self, trace: RequestTrace);

    /// A renewal that was done behind a request's reply.
    fn renewal(&self, trace: RenewalTrace);
}

/// A request, as its caller sent it. Without its query and its headers, in which there may be
/// secrets.
#[derive(Clone, Debug)]
pub struct About {
    /// The request's id.
    pub request: RequestId,
    /// Its method.
    pub method: http::Method,
    /// Its path, as it came in.
    pub path: String,
    /// Whether it came by TLS.
    pub secure: bool,
    /// The version of HTTP.
    pub version: http::Version,
    /// What the caller said of the trace's state, handed on as it is.
    pub state: Option<String>,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct End {
    /// The status that the caller got; none: the caller was gone before.
    pub status: Option<u16>,
    /// The label of the fault, where there was one.
    pub fault: Option<&'static str>,
    /// How it was served, where an environment was reached.
    pub proof: Option<Proof>,
}

/// A step of the pipeline, in time since the request's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTime {
    /// Which.
    pub step: Step,
    /// When it began.
    pub from: Duration,
    /// When it was over.
    pub to: Duration,
}

/// The trace of a request that is over.
#[derive(Clone, Debug)]
pub struct RequestTrace {
    /// The trace, and the id of the request's own span.
    pub span: TraceParent,
    /// The caller's span, if there was one.
    pub parent: Option<NonZeroU64>,
    /// When its head was read.
    pub began: SystemTime,
    /// From then to the last byte of the reply.
    pub took: Duration,
    /// The request.
    pub about: About,
    /// What it ran; none: no function was found.
    pub revision: Option<Arc<Revision>>,
    /// How it ended.
    pub end: End,
    /// Its steps, as they began.
    pub steps: Vec<StepTime>,
}

/// A renewal behind a reply.
#[derive(Clone, Debug)]
pub struct RenewalTrace {
    /// The span of the request after which it was done.
    pub after: TraceParent,
    /// What had run.
    pub revision: Arc<Revision>,
    /// When it began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Whether it was audited.
    pub audited: bool,
    /// Whether the environment is clean.
    pub renewed: bool,
}

/// The trace of a request in the making. Clones are the same one; it goes to its sink with the
/// last of them.
#[derive(Clone)]
pub struct Recording(Arc<Inner>);

struct Inner {
    sink: Arc<dyn TraceSink>,
    span: TraceParent,
    parent: Option<NonZeroU64>,
    began: SystemTime,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    about: Option<About>,
    revision: Option<Arc<Revision>>,
    end: End,
    ended: Option<Instant>,
    steps: Vec<Timed>,
}

struct Timed {
    step: Step,
    from: Instant,
    to: Option<Instant>,
}

/// A step that goes on until this is dropped.
pub struct StepGuard {
    recording: Recording,
    at: usize,
}

/// What a renewal needs to know of the request before it.
#[derive(Clone)]
pub struct RenewalLink {
    sink: Arc<dyn TraceSink>,
    after: TraceParent,
}

impl Recording {
    /// Begins with a request that `started` at this moment. `span` is the request's own.
    pub fn begin(
        sink: Arc<dyn TraceSink>,
        span: TraceParent,
        parent: Option<NonZeroU64>,
        started: Instant,
        about: About,
    ) -> Self {
        let began = SystemTime::now();
        Self(Arc::new(Inner {
            sink,
            span,
            parent,
            began: began.checked_sub(started.elapsed()).unwrap_or(began),
            started,
            state: Mutex::new(State {
                about: Some(about),
                revision: None,
                end: End::default(),
                ended: None,
                steps: Vec::with_capacity(8),
            }),
        }))
    }

    /// The trace, and the id of the request's own span.
    pub fn span(&self) -> TraceParent {
        self.0.span
    }

    /// The function was found.
    pub fn runs(&self, revision: &Arc<Revision>) {
        self.0.state.lock().revision = Some(Arc::clone(revision));
    }

    /// A step begins. The first one begins with the request. The last one, the reply's way out,
    /// lasts to the request's end and not to that of the guard.
    pub fn step(&self, step: Step) -> Option<StepGuard> {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        let at = state.steps.len();
        if at >= STEPS_MAX {
            return None;
        }
        let from = if at == 0 { self.0.started } else { now };
        state.steps.push(Timed {
            step,
            from,
            to: None,
        });
        drop(state);
        // Not made before it is known to be wanted: its drop ends the step.
        (step != Step::Respond).then(|| StepGuard {
            recording: self.clone(),
            at,
        })
    }

    /// The request is over; said once.
    pub fn end(&self, end: End) {
        let mut state = self.0.state.lock();
        state.end = end;
        state.ended = Some(Instant::now());
    }

    /// For a renewal after the request.
    pub fn renewal(&self) -> RenewalLink {
        RenewalLink {
            sink: Arc::clone(&self.0.sink),
            after: self.0.span,
        }
    }
}

impl Drop for StepGuard {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.recording.0.state.lock();
        if let Some(step) = state.steps.get_mut(self.at) {
            step.to = Some(now);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let Some(about) = state.about.take() else {
            return;
        };
        let ended = state.ended.unwrap_or_else(Instant::now);
        let since = |at: Instant| at.saturating_duration_since(self.started);
        // Who went away in the middle of a step has ended it.
        let time = |timed: &Timed| StepTime {
            step: timed.step,
            from: since(timed.from),
            to: since(timed.to.unwrap_or(ended).max(timed.from)),
        };
        self.sink.request(RequestTrace {
            span: self.span,
            parent: self.parent,
            began: self.began,
            took: since(ended),
            about,
            revision: state.revision.take(),
            end: state.end,
            steps: state.steps.iter().map(time).collect(),
        });
    }
}

impl RenewalLink {
    /// A renewal is over that began so long ago.
    pub fn over(self, revision: &Arc<Revision>, took: Duration, audited: bool, renewed: bool) {
        let now = SystemTime::now();
        self.sink.renewal(RenewalTrace {
            after: self.after,
            revision: Arc::clone(revision),
            began: now.checked_sub(took).unwrap_or(now),
            took,
            audited,
            renewed,
        });
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Recording").field(&self.0.span).finish()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Kept(Mutex<Vec<RequestTrace>>);

    impl TraceSink for Kept {
        fn takes(&self, _: NonZeroU128, _: Option<bool>) -> bool {
            true
        }

        fn request(&self, trace: RequestTrace) {
            self.0.lock().push(trace);
        }

        fn renewal(&self, _: RenewalTrace) {}
    }

    fn recording(kept: &Arc<Kept>) -> Recording {
        let request = RequestId(5);
        let span = TraceParent::begin(request, NonZeroU64::MIN, true).unwrap();
        let about = About {
            request,
            method: http::Method::GET,
            path: "/".to_owned(),
            secure: false,
            version: http::Version::HTTP_11,
            state: None,
        };
        Recording::begin(Arc::clone(kept) as _, span, None, Instant::now(), about)
    }

    #[test]
    fn it_is_told_once_and_whole_when_nobody_holds_it_any_more() {
        let kept = Arc::<Kept>::default();
        let recording = recording(&kept);
        let other = recording.clone();
        drop(other.step(Step::Receive));
        let run = other.step(Step::Run);
        recording.end(End {
            status: Some(200),
            ..End::default()
        });
        drop(recording);
        assert!(kept.0.lock().is_empty(), "a step goes on");
        drop((run, other));
        let kept = kept.0.lock();
        assert_eq!(kept.len(), 1);
        let steps: Vec<_> = kept[0].steps.iter().map(|time| time.step).collect();
        assert_eq!(steps, [Step::Receive, Step::Run]);
        assert_eq!(kept[0].steps[0].from, Duration::ZERO);
        assert_eq!(kept[0].end.status, Some(200));
    }

    #[test]
    fn the_replys_way_out_lasts_to_the_end_and_steps_are_bounded() {
        let kept = Arc::<Kept>::default();
        let recording = recording(&kept);
        assert!(recording.step(Step::Respond).is_none());
        for _ in 0..STEPS_MAX * 2 {
            drop(recording.step(Step::Loaded));
        }
        recording.end(End::default());
        drop(recording);
        let kept = kept.0.lock();
        assert_eq!(kept[0].steps.len(), STEPS_MAX);
        assert_eq!(kept[0].steps[0].to, kept[0].took);
    }
}

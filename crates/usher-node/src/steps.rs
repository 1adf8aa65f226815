//! The steps of an invocation as spans, in the order of the pipeline, and the hook before each run.
//!
//! ```text
//! invocation: receive → loaded → (instantiate) → swap → run → respond
//! ```
//!
//! `instantiate` is there only where something has to be loaded, started or waited for. A
//! subscriber gets the spans under [`TARGET`] at level debug; without one a span costs a load and a
//! branch. Where the request's trace is recorded, the steps are noted in its recording too.

use tracing::{Span, debug_span};
use usher_api::trace::{Recording, RenewalLink, StepGuard};
use usher_core::function::Revision;
use usher_core::id::{EnvironmentId, RequestId};
use usher_core::trace::Step;

/// The target of all spans of the pipeline.
pub const TARGET: &str = "usher::pipeline";

/// Called before each run of a revision, when the environment is clean and the guest has not begun.
/// Must not block.
pub trait BeforeRun: Send + Sync + 'static {
    /// A run is about to begin.
    fn before_run(&self, upcoming: &Upcoming<'_>);
}

/// What is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Upcoming<'a> {
    /// The request.
    pub request: RequestId,
    /// What it runs.
    pub revision: &'a Revision,
    /// Where.
    pub environment: EnvironmentId,
}

/// The spans of one invocation.
pub(crate) struct Steps {
    span: Span,
    recording: Option<Recording>,
}

impl Steps {
    pub(crate) fn begin(
        request: RequestId,
        revision: &Revision,
        recording: Option<Recording>,
    ) -> Self {
        let span = debug_span!(
            target: TARGET,
            "invocation",
            %request,
            function = %revision.function,
            revision = %revision.id
        );
        Self { span, recording }
    }

    /// Notes a step in the trace, where that is recorded, until the guard is dropped. The first
    /// one, the receipt, was begun by whoever sent the request here, if anybody did.
    pub(crate) fn note(&self, step: Step) -> Option<StepGuard> {
        self.recording.as_ref()?.step(step)
    }

    /// For the renewal after the run.
    pub(crate) fn renewal(&self) -> Option<RenewalLink> {
        self.recording.as_ref().map(Recording::renewal)
    }

    pub(crate) fn receive(&self) -> Span {
        debug_span!(target: TARGET, parent: &self.span, "receive")
    }

    pub(crate) fn loaded(&self) -> Span {
        debug_span!(target: TARGET, parent: &self.span, "loaded")
    }

    pub(crate) fn instantiate(&self) -> Span {
        debug_span!(target: TARGET, parent: &self.span, "instantiate")
    }

    pub(crate) fn swap(&self) -> Span {
        debug_span!(target: TARGET, parent: &self.span, "swap")
    }

    pub(crate) fn run(&self) -> Span {
        debug_span!(target: TARGET, parent: &self.span, "run")
    }

    pub(crate) fn respond(&self) -> Span {
        debug_span!(target: TARGET, parent: &self.span, "respond")
    }
}

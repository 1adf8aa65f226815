//! The traits: engine, environment, used environment; and what passes between them and a node.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use usher_api::body::Body;
use usher_api::node::{ImageReport, PrepareFault, Progress};
use usher_core::claim::RuntimeAbi;
use usher_core::fault::Fault;
use usher_core::function::Revision;
use usher_core::id::{AreaId, EnvironmentId, Generation};
use usher_core::proof::Renewal;

use crate::artifact::Artifact;
use crate::call::Call;

/// Makes environments of one kind.
pub trait Engine: Send + Sync + 'static {
    /// An artifact made ready.
    type Image: Send + Sync + 'static;
    /// A clean environment of it.
    type Environment: Environment;

    /// What compiled code and environments of a revision depend on, beside the artifact.
    fn abi(&self, revision: &Revision) -> &RuntimeAbi;

    /// Makes an artifact ready for one revision. Concurrent loads of the same artifact join.
    fn load(
        &self,
        revision: Arc<Revision>,
        artifact: impl Into<Artifact> + Send,
        progress: mpsc::Sender<Progress>,
    ) -> impl Future<Output = Result<Arc<Self::Image>, LoadError>> + Send;

    /// Whether an image that nobody has used for long may be given up, since loading it again is
    /// done within a request's patience.
    fn reloads_fast(&self, _image: &Self::Image) -> bool {
        true
    }

    /// What is known of an image. After [`Engine::distrust`] the mode is never `Live`.
    fn report(&self, image: &Self::Image) -> ImageReport;

    /// An audit of this image's renewals has failed: from now on none of its environments is put
    /// back in place, those that exist already included; each renewal gives a fresh one. Holds
    /// until the artifact is loaded anew.
    fn distrust(&self, image: &Self::Image);

    /// Starts one environment.
    fn start(
        &self,
        image: &Arc<Self::Image>,
    ) -> impl Future<Output = Result<Self::Environment, StartError>> + Send;
}

/// A clean environment: its current area is in the image's condition, and that was determined.
pub trait Environment: Sized + Send + 'static {
    /// The same environment after a run.
    type Used: Used<Clean = Self>;

    /// Which one it is.
    fn id(&self) -> EnvironmentId;

    /// Runs one call, as far as the response's head, or to the end where that comes first.
    ///
    /// Before the first instruction of the guest the engine reads the pointer to the area itself
    /// and compares it with the area that the environment's record names; a difference refuses the
    /// run ([`Ended::Quarantined`]).
    ///
    /// Dropping the future destroys the environment.
    fn run(self, call: Call) -> impl Future<Output = Run<Self::Used>> + Send;
}

/// What a run came to by the time there is something to say to the caller.
pub struct Run<U> {
    /// The response, or whose fault it is that there is none.
    pub reply: RunReply,
    /// How it was served, as far as the engine knows.
    pub facts: UsedFacts,
    /// What is left of the run.
    pub over: Over<U>,
}

/// A response whose body may still be in the making, or the fault, with the inner cause for the
/// log.
pub type RunReply = Result<http::Response<Body>, (Fault, String)>;

/// What is left of a run once the reply's head is there.
pub enum Over<U> {
    /// Nothing: the guest has returned.
    Now(Result<U, Ended>),
    /// The guest goes on, mostly to write the body. Somebody has to drive it to its end.
    Later(Pin<Box<dyn Future<Output = Result<U, Ended>> + Send>>),
}

/// What the engine read of the environment when the run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedFacts {
    /// The environment.
    pub environment: EnvironmentId,
    /// The area that was current.
    pub area: AreaId,
    /// Which use of it this was.
    pub generation: Generation,
    /// How the area had become clean.
    pub renewal: Renewal,
    /// What that took, in microseconds, rounded up.
    pub renew_us: u32,
}

/// Why an environment is gone after a run.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The run failed, or the caller went away; the environment was destroyed. Carries the fault
    /// where the head had already left.
    #[error("the run ended its environment: {cause}")]
    Destroyed {
        /// Whose fault it is.
        fault: Fault,
        /// The inner cause, for the log.
        cause: String,
    },
    /// It could not be shown that the environment's area was the one its record names. The run did
    /// not begin.
    #[error("the environment was quarantined: {cause}")]
    Quarantined {
        /// What did not fit.
        cause: String,
    },
}

/// An environment that has run a request.
pub trait Used: Sized + Send + 'static {
    /// The same environment, clean.
    type Clean;

    /// Back to the image, in another area. On failure there is nothing left to reuse.
    ///
    /// `audit` compares the whole area with the image before it is offered, by code that did not
    /// clean it.
    fn renew(
        self,
        audit: bool,
    ) -> impl Future<Output = Result<Renewed<Self::Clean>, RenewError>> + Send;

    /// Keeps the state for the next request, on purpose: only for images of revisions that keep it
    /// (`Isolation::keeps`), any other is refused and destroyed. By key or for all is one to the
    /// engine: the node lets nobody else in.
    fn keep(self) -> Result<Self::Clean, RenewError>;
}

/// A renewed environment, and the work that may be done behind its next request.
pub struct Renewed<C> {
    /// Ready to run.
    pub clean: C,
    /// Scrubs the area that was used; begins at once, on whatever thread is free.
    pub behind: Option<Behind>,
}

/// Scrubs a used area. To be called at once after the environment was offered; dropping it scrubs
/// as well.
pub struct Behind(Option<Box<dyn FnOnce() + Send>>);

impl Behind {
    /// Wraps the work.
    pub fn new(scrub: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(scrub)))
    }

    /// Does the work.
    pub fn scrub(mut self) {
        if let Some(scrub) = self.0.take() {
            scrub();
        }
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        if let Some(scrub) = self.0.take() {
            scrub();
        }
    }
}

/// Why an environment could not be renewed. It is destroyed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// Something is left of the run that cannot be put back; a new environment takes its place.
    #[error("the environment is replaced: {0}")]
    Leftover(String),
    /// A comparison with the image failed: the mechanism itself cannot be trusted for this
    /// revision.
    #[error("the audit of a renewed area failed: {0}")]
    AuditFailed(String),
    /// The engine failed.
    #[error("the environment could not be renewed: {0}")]
    Failed(String),
}

/// Why an artifact could not be made ready.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct LoadError(#[from] pub PrepareFault);

/// Why an environment could not be started.
#[derive(Debug, Clone, thiserror::Error)]
#[error("an environment could not be started: {cause}")]
pub struct StartError {
    /// Whose fault it is.
    pub fault: Fault,
    /// The inner cause, for the log.
    pub cause: String,
}

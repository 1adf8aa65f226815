//! One engine made of two: the second one runs Linux programs, the first one all the rest.
//!
//! ```text
//! revision without `process` ─► first   Image ─► Environment ─► Used ─► Environment …
//! revision with `process`    ─► second  Image ─► Environment ─► Used ─► Environment …
//! ```
//!
//! What belongs to the second is boxed, so that a run of the first does not carry its room along.
//!
//! Deliberately absent: anything between the two. What one of them made never reaches the other.

use std::sync::Arc;

use tokio::sync::mpsc;
use usher_api::node::{ImageReport, Progress};
use usher_core::claim::RuntimeAbi;
use usher_core::function::Revision;
use usher_core::id::EnvironmentId;

use crate::artifact::Artifact;
use crate::call::Call;
use crate::environment::{
    Engine, Environment, LoadError, Over, RenewError, Renewed, Run, StartError, Used,
};

type UsedOf<E> = <<E as Engine>::Environment as Environment>::Used;

/// Two engines as one.
pub struct Pair<A, B> {
    /// Runs revisions that are not programs.
    pub first: A,
    /// Runs programs.
    pub second: B,
}

/// An image of either.
pub enum PairImage<A: Engine, B: Engine> {
    /// Of the first engine.
    First(Arc<A::Image>),
    /// Of the second engine.
    Second(Arc<B::Image>),
}

/// An environment of either.
pub enum PairEnvironment<A: Engine, B: Engine> {
    /// Of the first engine.
    First(A::Environment),
    /// Of the second engine.
    Second(B::Environment),
}

/// A used environment of either.
pub enum PairUsed<A: Engine, B: Engine> {
    /// Of the first engine.
    First(UsedOf<A>),
    /// Of the second engine.
    Second(Box<UsedOf<B>>),
}

impl<A: Engine, B: Engine> Engine for Pair<A, B> {
    type Image = PairImage<A, B>;
    type Environment = PairEnvironment<A, B>;

    fn abi(&self, revision: &Revision) -> &RuntimeAbi {
        match revision.settings.process {
            None => self.first.abi(revision),
            Some(_) => self.second.abi(revision),
        }
    }

    async fn load(
        &self,
        revision: Arc<Revision>,
        artifact: impl Into<Artifact> + Send,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Arc<PairImage<A, B>>, LoadError> {
        let image = match revision.settings.process {
            None => PairImage::First(self.first.load(revision, artifact, progress).await?),
            Some(_) => PairImage::Second(self.second.load(revision, artifact, progress).await?),
        };
        Ok(Arc::new(image))
    }

    fn reloads_fast(&self, image: &PairImage<A, B>) -> bool {
        match image {
            PairImage::First(image) => self.first.reloads_fast(image),
            PairImage::Second(image) => self.second.reloads_fast(image),
        }
    }

    fn report(&self, image: &PairImage<A, B>) -> ImageReport {
        match image {
            PairImage::First(image) => self.first.report(image),
            PairImage::Second(image) => self.second.report(image),
        }
    }

    fn memory_bytes(&self, image: &PairImage<A, B>, environments: u64) -> u64 {
        match image {
            PairImage::First(image) => self.first.memory_bytes(image, environments),
            PairImage::Second(image) => self.second.memory_bytes(image, environments),
        }
    }

    fn distrust(&self, image: &PairImage<A, B>) {
        match image {
            PairImage::First(image) => self.first.distrust(image),
            PairImage::Second(image) => self.second.distrust(image),
        }
    }

    async fn start(
        &self,
        image: &Arc<PairImage<A, B>>,
    ) -> Result<PairEnvironment<A, B>, StartError> {
        Ok(match &**image {
            PairImage::First(image) => PairEnvironment::First(self.first.start(image).await?),
            PairImage::Second(image) => PairEnvironment::Second(self.second.start(image).await?),
        })
    }
}

impl<A: Engine, B: Engine> Environment for PairEnvironment<A, B> {
    type Used = PairUsed<A, B>;

    fn id(&self) -> EnvironmentId {
        match self {
            Self::First(environment) => environment.id(),
            Self::Second(environment) => environment.id(),
        }
    }

    async fn run(self, call: Call) -> Run<PairUsed<A, B>> {
        match self {
            Self::First(environment) => wrapped(environment.run(call).await, PairUsed::First),
            Self::Second(environment) => {
                wrapped(Box::pin(environment.run(call)).await, PairUsed::second)
            }
        }
    }
}

impl<A: Engine, B: Engine> PairUsed<A, B> {
    fn second(used: UsedOf<B>) -> Self {
        Self::Second(Box::new(used))
    }
}

/// The run with what is left of it wrapped, now or later.
fn wrapped<U: Used, W: 'static>(run: Run<U>, wrap: fn(U) -> W) -> Run<W> {
    Run {
        reply: run.reply,
        facts: run.facts,
        over: match run.over {
            Over::Now(left) => Over::Now(left.map(wrap)),
            Over::Later(rest) => Over::Later(Box::pin(async move { rest.await.map(wrap) })),
        },
    }
}

impl<A: Engine, B: Engine> Used for PairUsed<A, B> {
    type Clean = PairEnvironment<A, B>;

    async fn renew(self, audit: bool) -> Result<Renewed<PairEnvironment<A, B>>, RenewError> {
        let (clean, behind) = match self {
            Self::First(used) => {
                let renewed = used.renew(audit).await?;
                (PairEnvironment::First(renewed.clean), renewed.behind)
            }
            Self::Second(used) => {
                let renewed = Box::pin(used.renew(audit)).await?;
                (PairEnvironment::Second(renewed.clean), renewed.behind)
            }
        };
        Ok(Renewed { clean, behind })
    }

    fn keep(self) -> Result<PairEnvironment<A, B>, RenewError> {
        match self {
            Self::First(used) => used.keep().map(PairEnvironment::First),
            Self::Second(used) => used.keep().map(PairEnvironment::Second),
        }
    }
}

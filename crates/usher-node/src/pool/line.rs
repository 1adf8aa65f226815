//! The line of those who wait for an environment, and why some get none.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use usher_core::admit::RETRY_AFTER_MAX_S;
use usher_core::fault::Fault;
use usher_core::function::Limits;
use usher_core::start::Ticket;
use usher_engine::{Engine, StartError};

use super::{Claimed, Pool};

/// Where a request that waits is told.
pub(super) type Served<E> = oneshot::Receiver<Result<Claimed<E>, NoEnvironment>>;

/// What a request that asks for an environment gets.
pub(crate) enum Asked<E: Engine> {
    /// An environment.
    Got(Claimed<E>),
    /// The next one that comes free or is started.
    Waits(Line<E>),
}

/// A request's place in the line; it leaves the line when it is dropped.
pub(crate) struct Line<E: Engine> {
    pool: Arc<Pool<E>>,
    ticket: Ticket,
    served: Served<E>,
}

impl<E: Engine> Line<E> {
    pub(super) fn new(pool: Arc<Pool<E>>, ticket: Ticket, served: Served<E>) -> Self {
        Self {
            pool,
            ticket,
            served,
        }
    }

    /// Waits for the environment, but not longer than that.
    pub(crate) async fn served(mut self, wait_max: Duration) -> Result<Claimed<E>, NoEnvironment> {
        match tokio::time::timeout(wait_max, &mut self.served).await {
            Ok(Ok(claimed)) => claimed,
            Ok(Err(_)) => Err(NoEnvironment::Closed),
            Err(_) => Err(NoEnvironment::Busy),
        }
    }
}

impl<E: Engine> Drop for Line<E> {
    fn drop(&mut self) {
        let (tell, closed) = {
            let mut state = self.pool.state.lock();
            state.plan.expired(self.ticket);
            (state.waiting.remove(&self.ticket), state.closed)
        };
        drop(tell);
        if closed {
            self.pool.quiet.notify_waiters();
        }
    }
}

/// Why a request got no environment.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum NoEnvironment {
    #[error("too many requests wait already, or the wait was too long")]
    Busy,
    #[error("the revision was given up")]
    Closed,
    #[error(transparent)]
    NotStarted(#[from] StartError),
}

impl NoEnvironment {
    /// What the caller is told.
    pub(crate) fn fault(&self, limits: &Limits) -> Fault {
        match self {
            Self::Busy => {
                let wait_s = limits.queue_wait_max_ms.div_ceil(1_000);
                let retry_after_s = u32::try_from(wait_s).unwrap_or(RETRY_AFTER_MAX_S);
                Fault::Busy {
                    retry_after_s: retry_after_s.clamp(1, RETRY_AFTER_MAX_S),
                }
            }
            Self::Closed => Fault::Unavailable,
            Self::NotStarted(error) => error.fault.clone(),
        }
    }

    /// What stands in the log beside that.
    pub(crate) fn cause(&self) -> Option<String> {
        match self {
            Self::NotStarted(error) => Some(error.cause.clone()),
            Self::Busy | Self::Closed => None,
        }
    }
}

//! A running program behind whichever contract it speaks.
//!
//! ```text
//!                  ┌ 127.0.0.1:9001 ─ LambdaApi ─┐
//! Program (sandbox)┤                             ├─ call → the reply's head, and the rest
//!                  └ connect($PORT) ─ PortClient ┘
//! ```
//!
//! Deliberately absent: time limits and the program's exit, which `run` watches beside a call.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::{FutureExt, TryFutureExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use usher_api::body::Body;
use usher_api::invoke::BoxFuture;
use usher_core::function::Limits;
use usher_core::id::RequestId;

use crate::cause::chain;
use crate::contract::Answered;
use crate::contract::lambda::{
    Invoke, LambdaApi, NotRemembered, NotRewound, Note, RestoreError, Style,
};
use crate::contract::port::{Connect, PortClient};
use crate::failure::{Answers, CallFailed, ended};
use crate::folders::Shared;
use crate::outbound::Proxy;
use crate::output::Output;
use crate::renewal::{Back, Injected};
use crate::restorable::{Failed, Restorable};
use crate::restored::Hook;
use crate::sandbox::{Exit, Program};

/// How long it may take to learn what a program has told that has exited, or the other way round,
/// in milliseconds.
pub(crate) const REASON_MAX_MS: u64 = 100;

/// A program that is ready for a call. Dropping it ends the program at once.
pub(crate) struct Served {
    pub(crate) contract: Spoken,
    pub(crate) output: Output,
    pub(crate) program: Arc<Program>,
    /// Over which it says whether it may be put back.
    pub(crate) hook: Option<Hook>,
    /// By which it is put back after a request, where it can be.
    pub(crate) restorable: Option<Box<Restorable>>,
    /// Serves what the program may reach outside; ends with it.
    pub(crate) _proxy: Option<Proxy>,
    /// Its files, which it may still read while it ends and its image is gone.
    pub(crate) _folder: Arc<Shared>,
}

/// Why a program is not ready for a call when its state was taken or given back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRestored {
    #[error(transparent)]
    Api(#[from] RestoreError),
    #[error("the program {} while its hooks ran after a restore", ended(.0))]
    Exited(Exit),
}

/// What is left of a call once its answer's head is there.
pub(crate) type Rest = BoxFuture<'static, Result<(), CallFailed>>;

/// The contract that a program speaks.
pub(crate) enum Spoken {
    /// It asks the platform for its calls.
    Lambda(Box<LambdaApi>),
    /// It listens for them.
    Http(Box<PortClient>),
}

/// An answer, whatever the contract.
pub(crate) struct Reply {
    pub(crate) response: http::Response<Body>,
    pub(crate) rest: Option<Rest>,
    pub(crate) note: Option<String>,
}

impl Served {
    /// How the program has ended, if it has.
    pub(crate) fn exited(&self) -> Option<Exit> {
        self.program.exited().now_or_never()
    }

    /// The program as it was before its first request; none: it cannot be put back, and is ended.
    pub(crate) async fn put_back(
        mut self,
        audit: bool,
        injected: &Arc<Injected>,
    ) -> Option<Result<(Self, Back), Failed>> {
        let restorable = self.restorable.take()?;
        Some(restorable.put_back(self, audit, injected).await)
    }
}

impl Served {
    /// The determination: why the program is not, for all that can be read, in another area than
    /// in the run before.
    pub(crate) fn determine(&self) -> Result<(), String> {
        let restorable = self.restorable.as_ref();
        let restorable = restorable.ok_or("it has no snapshot")?;
        let determined = restorable.determine(&self.program);
        determined.map_err(|error| chain(&error))
    }
}

impl Spoken {
    /// How this request's caller is answered when the program fails.
    pub(crate) fn answers<B>(&self, request: &http::Request<B>) -> Answers {
        match self {
            Self::Lambda(_) => Answers::Lambda(Style::of(request)),
            Self::Http(_) => Answers::Ours,
        }
    }

    /// Notes the state that there is between two requests. A server's program has a connection for
    /// each, so that there is none.
    pub(crate) async fn remember(&mut self) -> Result<(), NotRemembered> {
        match self {
            Self::Lambda(api) => api.remember().await,
            Self::Http(_) => Ok(()),
        }
    }

    /// Whether the program has done nothing since then.
    pub(crate) fn still(&self) -> Result<(), NotRemembered> {
        match self {
            Self::Lambda(api) => api.still(),
            Self::Http(_) => Ok(()),
        }
    }

    /// Leaves the program alone, before it is put back.
    pub(crate) fn pause(&mut self) {
        if let Self::Lambda(api) = self {
            api.pause();
        }
    }

    /// Forgets the run, after the program was put back: the first part of returning to the state
    /// between two requests. Then [`go_on`](Self::go_on).
    pub(crate) fn rewind(&mut self) -> Result<(), NotRewound> {
        match self {
            Self::Lambda(api) => api.forget(),
            Self::Http(_) => Ok(()),
        }
    }

    /// Has the program served again, once it was rewound; [`rewound`](Self::rewound) waits until
    /// all is as it was.
    pub(crate) fn go_on(&self) {
        if let Self::Lambda(api) = self {
            api.go_on();
        }
    }

    /// See [`go_on`](Self::go_on).
    pub(crate) async fn rewound(&self) -> Result<(), NotRewound> {
        match self {
            Self::Lambda(api) => api.rewound().await,
            Self::Http(_) => Ok(()),
        }
    }

    /// Whether the program makes its state fresh by hooks of its own whenever it is
    /// [restored](Self::restored).
    pub(crate) fn has_hooks(&self) -> bool {
        match self {
            Self::Lambda(api) => api.waits_for_restore(),
            Self::Http(_) => false,
        }
    }

    /// Has a program that waits for it run its hooks; on return it is ready for a call.
    pub(crate) async fn restored(&self, program: &Program) -> Result<(), NotRestored> {
        let Self::Lambda(api) = self else {
            return Ok(());
        };
        let mut restoring = pin!(api.restore());
        tokio::select! {
            biased;
            restored = &mut restoring => Ok(restored?),
            exit = program.exited() => {
                match timeout(Duration::from_millis(REASON_MAX_MS), restoring).await {
                    Ok(Err(RestoreError::Reported(error))) => {
                        Err(RestoreError::Reported(error).into())
                    }
                    _ => Err(NotRestored::Exited(exit)),
                }
            }
        }
    }

    /// Calls the program. Without `keep` nobody calls it again, so that it is not waited for once
    /// its reply is whole.
    pub(crate) async fn call(
        &mut self,
        request_id: RequestId,
        request: http::Request<Body>,
        limits: &Limits,
        keep: bool,
    ) -> Result<Reply, CallFailed> {
        match self {
            Self::Lambda(api) => {
                let total_max_ms = limits.total_max_ms.unwrap_or(u64::MAX);
                let left_ms = limits.first_byte_max_ms.min(total_max_ms);
                let invoke = Invoke {
                    request_id,
                    request,
                    deadline: SystemTime::now() + Duration::from_millis(left_ms),
                };
                let mut reply = Reply::of(api.invoke(invoke).await?);
                let whole = matches!(reply.response.body(), Body::Empty | Body::Whole(_));
                reply.rest = reply.rest.filter(|_| keep || !whole);
                Ok(reply)
            }
            Self::Http(client) => Ok(Reply::of(client.call(request).await?)),
        }
    }
}

impl Reply {
    fn of<E: Into<CallFailed> + 'static>(answered: Answered<E>) -> Self {
        let Answered { mut response, rest } = answered;
        let note = response.extensions_mut().remove::<Note>();
        Self {
            response,
            rest: rest.map(|rest| rest.map_err(Into::into).boxed()),
            note: note.map(|Note(text)| text),
        }
    }
}

/// Reaches a program as long as it is there.
pub(crate) struct Reach(pub(crate) Weak<Program>);

impl Connect for Reach {
    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            let gone = || io::Error::new(io::ErrorKind::NotConnected, "the program is gone");
            let program = self.0.upgrade().ok_or_else(gone)?;
            program.connect(port).await
        })
    }
}

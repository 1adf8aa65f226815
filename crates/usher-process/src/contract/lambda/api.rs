//! The platform's side of one environment's Runtime API: is it ready, and one invocation after the
//! other.
//!
//! ```text
//! request ─event→ offered ─► the program's reply ─► response, and what is left of it (rest)
//! ```
//!
//! Deliberately absent: time limits and the program's end, with which the caller races these
//! futures; `failure::answer` makes the answers for both.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use usher_api::body::Body;
use usher_core::id::RequestId;

use super::about::About;
use super::delivery::{direct, of_url};
use super::desk::{Closed, Desk, Reply, Seen};
use super::error::{InitError, InvokeError, RestoreError};
use super::life::State;
use super::outcome::{After, Call, still_open};
use super::server::{NotRemembered, NotRewound, Server};
use super::style::Style;
use crate::contract::Answered;

/// How long it may take to take in a call whose bytes are there, in milliseconds.
const REWIND_WAIT_MAX_MS: u64 = 2_000;
/// How long hooks may run after a restore, in milliseconds: AWS's bound.
const RESTORE_WAIT_MAX_MS: u64 = 10_000;

/// One call of the function.
#[derive(Debug)]
pub struct Invoke {
    /// Ties everything that is said about this call together.
    pub request_id: RequestId,
    /// Head and body as the gateway hands them on.
    pub request: http::Request<Body>,
    /// When the caller will give up. The program is told, and nothing here acts on it.
    pub deadline: SystemTime,
}

/// The Runtime API of one environment. Dropping it ends its connections and its task.
pub struct LambdaApi {
    desk: Arc<Desk>,
    server: Server,
}

impl Drop for LambdaApi {
    fn drop(&mut self) {
        self.desk.close(Closed::Listener);
    }
}

impl LambdaApi {
    /// Serves a program that connects to `listener`. Must be called within a tokio runtime.
    pub fn serve(listener: TcpListener, about: About) -> Self {
        let desk = Desk::new(Arc::new(about));
        let server = Server::serve(listener, &desk);
        Self { desk, server }
    }

    /// Resolves when the program asks for its first event, or waits to be
    /// [restored](Self::restore). It may be awaited by any number, at any time, and dropped.
    ///
    /// # Errors
    /// The program says that its initialisation failed, or cannot be served any more.
    pub async fn ready(&self) -> Result<(), InitError> {
        let mut seen = self.desk.watch();
        let starting = |seen: &Seen| seen.state == State::Starting && seen.closed.is_none();
        let seen = seen
            .wait_for(|seen| !starting(seen))
            .await
            .map(|seen| *seen);
        match seen {
            Ok(seen) if seen.state == State::Failed => Err(self
                .desk
                .init_error()
                .map_or(InitError::Closed, InitError::Reported)),
            Ok(seen) if seen.closed.is_none() => Ok(()),
            _ => Err(InitError::Closed),
        }
    }

    /// Whether the program waits to be restored, and so runs its function's hooks whenever it is.
    pub fn waits_for_restore(&self) -> bool {
        self.desk.watch().borrow().state == State::RestoreReady
    }

    /// Has a program that waits for it go on, and resolves when its hooks have run and it asks for
    /// an event; at once if it does not wait. Bounded to 10 s.
    ///
    /// # Errors
    /// One of the hooks failed, or they take too long. The program is not fit to be called.
    pub async fn restore(&self) -> Result<(), RestoreError> {
        let mut seen = self.desk.watch();
        // It does not wait if this is refused.
        let _ = self.desk.restore();
        let done = |seen: &Seen| {
            !matches!(seen.state, State::RestoreReady | State::Restoring) || seen.closed.is_some()
        };
        let wait = Duration::from_millis(RESTORE_WAIT_MAX_MS);
        let seen = match timeout(wait, seen.wait_for(done)).await {
            Ok(seen) => seen.map(|seen| *seen),
            Err(_) => return Err(RestoreError::Late(RESTORE_WAIT_MAX_MS)),
        };
        match seen {
            Ok(seen) if seen.state == State::RestoreFailed => Err(self
                .desk
                .restore_error()
                .map_or(RestoreError::Closed, RestoreError::Reported)),
            Ok(seen) if seen.state == State::Idle && seen.closed.is_none() => Ok(()),
            _ => Err(RestoreError::Closed),
        }
    }

    /// Notes the state to which every later [`rewind`](Self::rewind) returns, and returns to it
    /// once. To be called of a program that rests, waits for an event or to be restored, and was
    /// not given one.
    ///
    /// # Errors
    /// The state is none that can be returned to. The program cannot be served any more.
    pub async fn remember(&mut self) -> Result<(), NotRemembered> {
        let seen = *self.desk.watch().borrow();
        let waits = matches!(seen.state, State::Idle | State::RestoreReady);
        if !waits || seen.closed.is_some() {
            return Err(NotRemembered::NotWaiting);
        }
        self.server.remember()?;
        Ok(self.rewind().await?)
    }

    /// The calls that were remembered, one for each connection.
    pub(crate) fn calls(&self) -> Vec<Bytes> {
        self.server.calls()
    }

    /// Takes a program that was made like another one, for which `call` was remembered, for one
    /// that has just sent that. It must have one connection, and wait for an answer on it.
    ///
    /// # Errors
    /// It cannot be served.
    pub(crate) async fn adopt(&mut self, call: Bytes) -> Result<(), NotRemembered> {
        self.server.adopt(call)?;
        Ok(self.rewind().await?)
    }

    /// To be called when the program's own state was noted: whether it has kept still since
    /// [`remember`](Self::remember), so that both states belong together.
    ///
    /// # Errors
    /// It has not.
    pub fn still(&self) -> Result<(), NotRemembered> {
        match self.server.is_quiet().map_err(NotRemembered::Socket)? {
            true => Ok(()),
            false => Err(NotRemembered::Restless),
        }
    }

    /// Stops serving before the program is put back, so that nothing is written to it any more. Its
    /// connections stay open. Goes on with [`rewind`](Self::rewind).
    pub fn pause(&mut self) {
        self.server.pause();
    }

    /// Returns to the remembered state, in which the program waits for its first event or to be
    /// restored; to be called when the program was put back to that. Nothing that an old run has
    /// sent, and no reply to one of its calls, has a part in what comes after. Bounded to 2 s.
    ///
    /// # Errors
    /// It is not possible. The program cannot be served any more.
    pub async fn rewind(&mut self) -> Result<(), NotRewound> {
        self.forget()?;
        self.go_on();
        self.rewound().await
    }

    /// The first part of [`rewind`](Self::rewind): forgets all of the run, and serves nothing yet.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn forget(&mut self) -> Result<(), NotRewound> {
        self.server.pause();
        if self.desk.watch().borrow().closed.is_some() {
            return Err(NotRewound::NotWaiting);
        }
        // Whoever still waits for something of the old run waits no longer.
        self.desk.close(Closed::Listener);
        self.desk = Desk::new(self.desk.about.clone());
        self.server.forget()
    }

    /// The second part: serves again, as far as that goes without waiting.
    pub(crate) fn go_on(&self) {
        self.server.again(&self.desk);
    }

    /// The third part: waits until the call of the snapshot was taken in.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn rewound(&self) -> Result<(), NotRewound> {
        let wait = Duration::from_millis(REWIND_WAIT_MAX_MS);
        match timeout(wait, self.ready()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(NotRewound::NotWaiting),
        }
    }

    /// Gives the program one request, and answers when it has replied: with all of a buffered
    /// result, or with the head of a streamed one. A function's error is an answer too, and has a
    /// [`Note`](super::Note) for the log. It waits until the program asks for an event, without a
    /// limit.
    ///
    /// Dropping the future leaves the program with an event that nobody waits for: the environment
    /// must then be destroyed.
    ///
    /// # Errors
    /// The request cannot be given to the program, or the program cannot be served any more.
    pub async fn invoke(&mut self, invoke: Invoke) -> Result<Answered<InvokeError>, InvokeError> {
        let id = invoke.request_id;
        let (head, body) = invoke.request.into_parts();
        let call = Call {
            id,
            style: Style::of_call(&head.method, head.uri.path()),
            headless: head.method == Method::HEAD,
        };
        let about = &self.desk.about;
        let delivery = match call.style {
            Style::Direct => match direct(about, id, &head, body, invoke.deadline).await? {
                Ok(delivery) => delivery,
                Err(declined) => return Ok(finished(declined.answer(id))),
            },
            Style::Url => of_url(about, id, &head, body, invoke.deadline).await?,
        };
        let mut seen = self.desk.watch();
        let asked = idle(&mut seen, &self.desk).await?.asked;
        let replied = self.server.after(|| self.desk.offer(id, delivery));
        // Idle was seen, and nobody else offers.
        let replied = replied.map_err(|_| InvokeError::Closed)?;
        let reply = reply(replied, &mut seen).await?;
        let after = After { seen, asked };
        Ok(call.answered(reply, after).await)
    }
}

/// Waits until the program asks for an event.
async fn idle(seen: &mut watch::Receiver<Seen>, desk: &Desk) -> Result<Seen, InvokeError> {
    let settled =
        |seen: &Seen| matches!(seen.state, State::Idle | State::Failed) || seen.closed.is_some();
    let seen = seen.wait_for(settled).await.map(|seen| *seen);
    let seen = seen.map_err(|_| InvokeError::Closed)?;
    still_open(&seen)?;
    if seen.state == State::Failed {
        return Err(desk
            .init_error()
            .map_or(InvokeError::Closed, InvokeError::Init));
    }
    Ok(seen)
}

/// Waits for the program's reply.
async fn reply(
    replied: oneshot::Receiver<Reply>,
    seen: &mut watch::Receiver<Seen>,
) -> Result<Reply, InvokeError> {
    let closed = async {
        let seen = seen
            .wait_for(|seen| seen.closed.is_some())
            .await
            .map(|seen| *seen);
        seen.map_or(Err(InvokeError::Closed), |seen| still_open(&seen))
    };
    tokio::select! {
        biased;
        reply = replied => reply.map_err(|_| InvokeError::Closed),
        closed = closed => Err(closed.err().unwrap_or(InvokeError::Closed)),
    }
}

/// An answer that the program has no part in.
fn finished(response: http::Response<Body>) -> Answered<InvokeError> {
    Answered {
        response,
        rest: None,
    }
}

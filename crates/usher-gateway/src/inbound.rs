//! The body of a request on its way to the function, held to the function's bound and to the pace
//! that the gateway demands.
//!
//! ```text
//!   a piece ─┬ within the bound ► the function's       nothing, though it is asked for, for too
//!            └ beyond it ► broken: 413                  long, before the answer ► broken: 408
//! ```
//!
//! Once the function has answered, client and function may both be silent for as long as the
//! function's own limits let a reply be. Trailers under `usher-` are taken out.
//!
//! Deliberately absent: a body that nobody asks for, which costs the client no more than the
//! function's time does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;

use crate::connection::Connection;
use crate::head::{Side, cleanse};

const SOUND: u8 = 0;
const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;

/// A request's body, and a word on what became of it.
pub(crate) struct Inbound {
    pub(crate) body: Body,
    pub(crate) upload: Upload,
}

/// What became of a body; asked when the function has answered. Nothing to ask where there is none.
#[derive(Clone, Default)]
pub(crate) struct Upload(Option<Arc<Account>>);

struct Account {
    body_max_bytes: u64,
    body_stall_max_ms: u64,
    flaw: AtomicU8,
    answered: AtomicBool,
}

impl Upload {
    /// The fault to answer with, whatever the function made of the broken body.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.0.as_ref()?.fault()
    }

    /// The function has answered.
    pub(crate) fn answered(&self) {
        if let Some(account) = &self.0 {
            account.answered.store(true, Relaxed);
        }
    }
}

impl Account {
    fn fault(&self) -> Option<Fault> {
        match self.flaw.load(Relaxed) {
            SOUND => None,
            TOO_LARGE => Some(Fault::BodyTooLarge {
                body_max_bytes: self.body_max_bytes,
            }),
            _ => Some(Fault::SlowBody {
                body_stall_max_ms: self.body_stall_max_ms,
            }),
        }
    }
}

/// Lays the bounds around a body. Fails at once where its announced length is beyond them.
pub(crate) fn bounded(
    incoming: Incoming,
    max: Option<u64>,
    connection: &Arc<Connection>,
) -> Result<Inbound, Fault> {
    if incoming.is_end_stream() {
        return Ok(Inbound {
            body: Body::Empty,
            upload: Upload(None),
        });
    }
    let body_max_bytes = max.unwrap_or(u64::MAX);
    if incoming.size_hint().lower() > body_max_bytes {
        return Err(Fault::BodyTooLarge { body_max_bytes });
    }
    let account = Arc::new(Account {
        body_max_bytes,
        body_stall_max_ms: connection.gateway.bounds.body_stall_max_ms,
        flaw: AtomicU8::new(SOUND),
        answered: AtomicBool::new(false),
    });
    let body = Body::stream(Watched {
        incoming,
        left_bytes: body_max_bytes,
        account: Arc::clone(&account),
        connection: Arc::clone(connection),
        patience: None,
        moved: false,
    });
    Ok(Inbound {
        body,
        upload: Upload(Some(account)),
    })
}

struct Watched {
    incoming: Incoming,
    left_bytes: u64,
    account: Arc<Account>,
    connection: Arc<Connection>,
    /// Exists from the first wait on.
    patience: Option<Pin<Box<Sleep>>>,
    /// Whether a piece came since the patience began anew.
    moved: bool,
}

impl Watched {
    /// Whether the client has let the function wait for too long.
    fn is_stalled(&mut self, cx: &mut Context<'_>) -> bool {
        if self.account.answered.load(Relaxed) {
            self.patience = None;
            return false;
        }
        let stall_max = Duration::from_millis(self.account.body_stall_max_ms);
        let patience = self.patience.get_or_insert_with(|| {
            self.moved = false;
            Box::pin(tokio::time::sleep(stall_max))
        });
        while patience.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.moved) {
                return true;
            }
            patience.as_mut().reset(Instant::now() + stall_max);
        }
        false
    }

    fn broken(&self, flaw: u8) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.account.flaw.store(flaw, Relaxed);
        let fault = self.account.fault();
        Poll::Ready(fault.map(|fault| Err(fault.into())))
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(fault) = self.account.fault() {
            return Poll::Ready(Some(Err(fault.into())));
        }
        let mut frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending if self.is_stalled(cx) => return self.broken(TOO_SLOW),
            Poll::Pending => return Poll::Pending,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(frame)) => frame?,
        };
        self.moved = true;
        self.connection.pulse.moved();
        if let Some(data) = frame.data_ref() {
            match self.left_bytes.checked_sub(data.len() as u64) {
                Some(left) => self.left_bytes = left,
                None => return self.broken(TOO_LARGE),
            }
        } else if let Some(trailers) = frame.trailers_mut() {
            cleanse(trailers, Side::Client);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

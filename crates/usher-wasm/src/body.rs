//! Bodies on their way between the platform and a guest.
//!
//! A reply's body knows how its run fares. When the run fails after the head has left, the body
//! ends with an error and not as if it were complete; when the reader goes away, the run is told.
//! Deliberately absent: who drives the run.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::task::AtomicWaker;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Collected};
use parking_lot::Mutex;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, WasiBody};

/// What a run and the reader of its reply know of each other.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Pieces that went through, in either direction.
    pub(crate) progress: AtomicU64,
    fault: Mutex<Option<Fault>>,
    gone: AtomicBool,
    waker: AtomicWaker,
}

impl Link {
    /// The run has failed: what is still to be read is not the whole reply.
    pub(crate) fn fail(&self, fault: Fault) {
        *self.fault.lock() = Some(fault);
    }

    /// Ready once the reader has gone away before the end.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.gone.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A request's body as a guest reads it.
pub(crate) struct Inbound {
    body: Body,
    link: Arc<Link>,
}

impl Inbound {
    pub(crate) fn new(body: Body, link: Arc<Link>) -> Self {
        Self { body, link }
    }
}

impl HttpBody for Inbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.link.progress.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|error| match error {
                BodyError::Connection(error) => Error::Hyper(error),
                BodyError::Fault(Fault::BodyTooLarge { body_max_bytes }) => {
                    Error::HttpRequestBodySize(Some(body_max_bytes))
                }
                BodyError::Fault(_) | BodyError::Broken(_) => Error::ConnectionTerminated,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A reply's body while its run goes on.
struct Outbound {
    body: WasiBody,
    link: Arc<Link>,
    ended: bool,
}

impl HttpBody for Outbound {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.link.progress.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(_)) | None => {
                self.ended = true;
                let fault = self.link.fault.lock().clone();
                let broken = matches!(frame, Some(Err(_)));
                match fault {
                    Some(fault) => Some(Err(fault.into())),
                    None if broken => Some(Err(Fault::Trap.into())),
                    None => None,
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        if !self.ended {
            self.link.gone.store(true, Ordering::Release);
            self.link.waker.wake();
        }
    }
}

/// The reply of a run that goes on.
pub(crate) fn streamed(body: HyperOutgoingBody, link: Arc<Link>) -> Body {
    Body::stream(Outbound {
        body,
        link,
        ended: false,
    })
}

/// The reply of a run that is over: all of its bytes are there already, so it is handed on whole
/// and with its length. None if the guest left it incomplete.
pub(crate) fn whole(body: HyperOutgoingBody) -> Option<Body> {
    // What is there is to be had at once, however much of its budget the task has used up.
    let collected = tokio::task::unconstrained(body.collect()).now_or_never();
    let collected: Collected<Bytes> = collected?.ok()?;
    if collected.trailers().is_some() {
        return Some(Body::stream(http_body_util::StreamBody::new(
            futures_util::stream::iter(pieces(collected)),
        )));
    }
    Some(collected.to_bytes().into())
}

fn pieces(collected: Collected<Bytes>) -> Vec<Result<Frame<Bytes>, BodyError>> {
    let trailers = collected.trailers().cloned();
    let data = Frame::data(collected.to_bytes());
    let trailers = trailers.map(Frame::trailers);
    std::iter::once(data).chain(trailers).map(Ok).collect()
}

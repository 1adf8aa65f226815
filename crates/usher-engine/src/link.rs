//! What a run and the bodies around it know of each other.
//!
//! A reply's body knows how its run fares. When the run fails after the head has left, the body
//! ends with an error and not as if it were complete; when the reader goes away, the run is told.
//! Deliberately absent: who drives the run.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;

/// What is known of one run on both of its sides.
#[derive(Debug, Default)]
pub struct Link {
    progress: AtomicU64,
    fault: Mutex<Option<Fault>>,
    gone: AtomicBool,
    waker: AtomicWaker,
}

impl Link {
    /// A piece of a body went through.
    pub fn advance(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    /// Pieces that went through, in either direction.
    pub fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// The run has failed: what is still to be read is not the whole reply.
    pub fn fail(&self, fault: Fault) {
        *self.fault.lock() = Some(fault);
    }

    /// Why the run has failed, if it has.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.lock().clone()
    }

    /// Ready once the reader has gone away before the end.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        if self.gone.load(Ordering::Acquire) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// A request's body on its way to the code.
pub struct Inbound<B> {
    body: B,
    link: Arc<Link>,
}

impl<B> Inbound<B> {
    /// Counts what goes through as progress of the run.
    pub fn new(body: B, link: Arc<Link>) -> Self {
        Self { body, link }
    }
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Inbound<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.link.advance();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The reply's body while its run goes on.
pub fn outbound<B>(body: B, link: Arc<Link>) -> Body
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
{
    Body::stream(Outbound {
        body,
        link,
        ended: false,
    })
}

struct Outbound<B: HttpBody> {
    body: B,
    link: Arc<Link>,
    ended: bool,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Outbound<B> {
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
        self.link.advance();
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            broken_or_over => {
                self.ended = true;
                match (self.link.fault(), broken_or_over) {
                    (Some(fault), _) => Some(Err(fault.into())),
                    (None, Some(_)) => Some(Err(Fault::Trap.into())),
                    (None, None) => None,
                }
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: HttpBody> Drop for Outbound<B> {
    fn drop(&mut self) {
        // A reader that has all promised bytes does not ask whether there are more.
        if !self.ended && !self.body.is_end_stream() {
            self.link.gone.store(true, Ordering::Release);
            self.link.waker.wake();
        }
    }
}

//! The body of a request on its way to the function, held to the function's bound.
//!
//! A body whose length is announced needs no watching, because hyper ends it there. One in chunks
//! is counted as it comes; trailers under `usher-` are taken out of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;

use crate::head::{Side, cleanse};

/// A request's body, and a word on whether it turned out to be too large.
pub(crate) struct Inbound {
    pub(crate) body: Body,
    pub(crate) overrun: Overrun,
}

/// Whether a body has passed its bound; asked when the function has answered.
#[derive(Clone, Default)]
pub(crate) struct Overrun(Option<Arc<Bound>>);

struct Bound {
    body_max_bytes: u64,
    passed: AtomicBool,
}

impl Overrun {
    /// The fault to answer with, whatever the function made of the broken body.
    pub(crate) fn fault(&self) -> Option<Fault> {
        let bound = self.0.as_ref()?;
        bound.passed.load(Relaxed).then_some(Fault::BodyTooLarge {
            body_max_bytes: bound.body_max_bytes,
        })
    }
}

/// Lays the bound around a body. Fails at once where its announced length is beyond it.
pub(crate) fn bounded(incoming: Incoming, max: Option<u64>) -> Result<Inbound, Fault> {
    if let Some(bytes) = incoming.size_hint().exact() {
        return match max {
            Some(body_max_bytes) if bytes > body_max_bytes => {
                Err(Fault::BodyTooLarge { body_max_bytes })
            }
            _ => Ok(Inbound {
                body: Body::from(incoming),
                overrun: Overrun(None),
            }),
        };
    }
    let overrun = Overrun(max.map(|body_max_bytes| {
        Arc::new(Bound {
            body_max_bytes,
            passed: AtomicBool::new(false),
        })
    }));
    let body = Body::stream(Chunked {
        incoming,
        left_bytes: max.unwrap_or(u64::MAX),
        overrun: overrun.clone(),
    });
    Ok(Inbound { body, overrun })
}

struct Chunked {
    incoming: Incoming,
    left_bytes: u64,
    overrun: Overrun,
}

impl http_body::Body for Chunked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(fault) = self.overrun.fault() {
            return Poll::Ready(Some(Err(fault.into())));
        }
        let Some(frame) = ready!(Pin::new(&mut self.incoming).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let mut frame = frame?;
        if let Some(data) = frame.data_ref() {
            let bytes = data.len() as u64;
            match (self.left_bytes.checked_sub(bytes), &self.overrun.0) {
                (Some(left), _) => self.left_bytes = left,
                (None, Some(bound)) => {
                    bound.passed.store(true, Relaxed);
                    let body_max_bytes = bound.body_max_bytes;
                    return Poll::Ready(Some(Err(Fault::BodyTooLarge { body_max_bytes }.into())));
                }
                (None, None) => {}
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

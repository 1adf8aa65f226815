//! Bodies on their way between the platform and a guest.
//!
//! What a body and its run know of each other is `usher_engine::link`'s. Deliberately absent: who
//! drives the run.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Collected};
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;
use usher_engine::link::{Link, outbound};
use wasmtime_wasi_http::Error;

use crate::reply::Reply;

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
        self.link.advance();
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

/// The reply of a run that goes on.
pub(crate) fn streamed(body: Reply, link: Arc<Link>) -> Body {
    outbound(body, link)
}

/// The reply of a run that is over: all of its bytes are there already, so it is handed on whole
/// and with its length. None if the guest left it incomplete.
pub(crate) fn whole(body: Reply) -> Option<Body> {
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

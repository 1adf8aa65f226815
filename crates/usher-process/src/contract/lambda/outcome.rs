//! From the program's reply to the caller's answer, and what follows it.
//!
//! ```text
//! result ─► answer, whole       stream ─► head as soon as it is known, body behind it
//! failure ─► AWS's answer       all ─► rest: the reply is complete, and `next` was asked again
//! ```
//!
//! Deliberately absent: how a result reads (`result`) and what a failure says (`failure`).

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use tokio::sync::{oneshot, watch};
use usher_api::body::Body;
use usher_core::id::RequestId;

use super::desk::{Closed, Reply, Seen, Stream};
use super::error::InvokeError;
use super::failure::{Failure, answer, executed, sign};
use super::result::{self, Head};
use super::stream::{Broken, Frames, INTEGRATION, Prelude, first, prelude};
use super::style::Style;
use crate::contract::{Answered, Rest};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// An extension of the responses to invocations that failed: what is to stand in the function's
/// log, besides what the program wrote there itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note(pub String);

/// One call, on its way back.
pub(super) struct Call {
    pub(super) id: RequestId,
    pub(super) style: Style,
    /// The answer has no body whatever its head says.
    pub(super) headless: bool,
}

impl Call {
    /// The answer to a reply.
    pub(super) async fn answered(&self, reply: Reply, after: After) -> Answered<InvokeError> {
        match reply {
            Reply::Result(result) => match self.whole(result) {
                Ok(response) => Answered {
                    response,
                    rest: Some(after.next()),
                },
                Err(failure) => self.failed(&failure, after.next()),
            },
            Reply::Failed(failure) => self.failed(&failure, after.next()),
            Reply::Stream(stream) => self.streamed(stream, after).await,
        }
    }

    fn failed(&self, failure: &Failure, rest: Rest<InvokeError>) -> Answered<InvokeError> {
        let mut response = answer(self.style, self.id, failure);
        response.extensions_mut().insert(Note(failure.log(self.id)));
        Answered {
            response,
            rest: Some(rest),
        }
    }

    fn whole(&self, result: Bytes) -> Result<http::Response<Body>, Failure> {
        match self.style {
            Style::Direct => {
                let mut response = http::Response::new(Body::from(result));
                executed(response.headers_mut());
                Ok(sign(response, self.id))
            }
            Style::Url => match result::reply(&result) {
                Ok(response) => Ok(sign(response, self.id)),
                Err(malformed) => Err(Failure::Malformed(malformed.to_string())),
            },
        }
    }

    async fn streamed(&self, mut stream: Stream, after: After) -> Answered<InvokeError> {
        let kind = stream.content_type.take();
        let integration = kind
            .as_ref()
            .is_some_and(|kind| kind.as_bytes() == INTEGRATION);
        let kind = kind.unwrap_or(OCTETS);
        let head = if self.style == Style::Url && integration {
            with_head(&mut stream).await
        } else {
            without_head(&mut stream, kind).await
        };
        let (head, first) = match head {
            Ok(head) => head,
            Err(failure) => return self.failed(&failure, after.next()),
        };
        let body = Body::stream(Frames::new(first, stream.frames));
        let mut response = head.with(body);
        if self.style == Style::Direct {
            executed(response.headers_mut());
        }
        Answered {
            response: sign(response, self.id),
            rest: Some(after.stream(stream.ended, self.headless)),
        }
    }
}

/// The head that a stream begins with, and what of its body came along.
async fn with_head(stream: &mut Stream) -> Result<(Head, Option<Bytes>), Failure> {
    let head = match prelude(&mut stream.frames).await {
        Prelude::Head(head, first) => result::prelude(&head).map(|head| (head, Some(first))),
        Prelude::None => Err(result::Malformed::Prelude),
        Prelude::Broken(broken) => return Err(before(broken)),
    };
    let (mut head, first) = head.map_err(|what| Failure::Malformed(what.to_string()))?;
    head.headers.entry(CONTENT_TYPE).or_insert(OCTETS);
    Ok((head, first))
}

/// The head of a stream that has none. It leaves with the first frame, since an error before that
/// is one of the call.
async fn without_head(
    stream: &mut Stream,
    kind: HeaderValue,
) -> Result<(Head, Option<Bytes>), Failure> {
    let first = first(&mut stream.frames).await.map_err(before)?;
    let mut head = Head::default();
    head.headers.insert(CONTENT_TYPE, kind);
    Ok((head, first))
}

/// What an end of a stream means before its head has left.
fn before(broken: Broken) -> Failure {
    match broken {
        Broken::Function(error) => Failure::Function(error),
        Broken::Cut | Broken::CallerGone => Failure::Truncated,
    }
}

/// What follows a reply.
pub(super) struct After {
    pub(super) seen: watch::Receiver<Seen>,
    /// How often the program had asked for an event when it was given this one.
    pub(super) asked: u64,
}

impl After {
    /// The program asks for an event again.
    fn next(self) -> Rest<InvokeError> {
        Box::pin(self.asked_again())
    }

    async fn asked_again(mut self) -> Result<(), InvokeError> {
        let asked = self.asked;
        let again = |seen: &Seen| seen.asked > asked || seen.closed.is_some();
        let seen = self.seen.wait_for(again).await.map(|seen| *seen);
        let seen = seen.map_err(|_| InvokeError::Closed)?;
        if seen.asked > asked {
            return Ok(());
        }
        still_open(&seen)
    }

    /// The stream ends, and the program asks for an event again.
    fn stream(
        self,
        ended: oneshot::Receiver<Result<(), Broken>>,
        headless: bool,
    ) -> Rest<InvokeError> {
        Box::pin(async move {
            match ended.await.unwrap_or(Err(Broken::Cut)) {
                Ok(()) => self.asked_again().await,
                Err(Broken::CallerGone) if headless => self.asked_again().await,
                Err(Broken::Function(error)) => {
                    self.asked_again().await?;
                    Err(InvokeError::Stream(Broken::Function(error)))
                }
                Err(broken) => Err(InvokeError::Stream(broken)),
            }
        })
    }
}

/// Refuses once nothing is served any more.
pub(super) fn still_open(seen: &Seen) -> Result<(), InvokeError> {
    match seen.closed {
        None => Ok(()),
        Some(Closed::Disorder) => Err(InvokeError::Disorder),
        Some(Closed::Listener) => Err(InvokeError::Closed),
    }
}

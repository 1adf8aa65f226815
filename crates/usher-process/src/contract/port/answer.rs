//! A reply, from its head to its end: the body, or the tunnel that a 101 begins.
//!
//! ```text
//!  head ─┬ body complete with it ───► whole, nothing is left
//!        ├ body ─┬ end ─────────────► the connection is kept, if that is safe
//!        │       ├ breaks off ──────► Broken
//!        │       └ dropped ─────────► Dropped
//!        └ 101 ─► tunnel ─► either side ends, or nothing moves
//! ```

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use usher_api::body::{Body, BodyError};
use usher_api::upgrade::Granted;

use super::error::CallError;
use super::head;
use super::link::{Begun, Link};
use super::reuse::{Kept, grant};
use crate::contract::{Answered, Rest};
use crate::tunnel::{Ended, pump};

/// What of a call is needed once its reply begins.
pub(super) struct Call {
    /// The protocols that the caller would change to.
    pub(super) asked: Option<HeaderValue>,
    pub(super) granted: Option<Granted>,
    pub(super) kept: Kept,
    pub(super) tunnel_idle_max: Duration,
}

impl Call {
    /// Makes an answer of a reply that has begun.
    pub(super) async fn answer(self, begun: Begun) -> Result<Answered<CallError>, CallError> {
        let Begun {
            mut response,
            mut link,
        } = begun;
        let upgrading = hyper::upgrade::on(&mut response);
        let (mut parts, mut body) = response.into_parts();
        let idle_max = grant(&parts);
        head::reply(&mut parts, self.asked.as_ref())?;
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let Some(granted) = self.granted else {
                let text = "it changes the protocol, which nobody can";
                return Err(CallError::Malformed(text.to_owned()));
            };
            let rest = tunnel(link, upgrading, granted, self.tunnel_idle_max);
            return Ok(Answered {
                response: Response::from_parts(parts, Body::Empty),
                rest: Some(rest),
            });
        }
        // Small replies come with their head; nobody has to be called for the rest of them.
        let first = poll_fn(|cx| Poll::Ready(first(&mut body, &mut link, cx))).await;
        let first = match first {
            First::Nothing => None,
            First::Frame(frame) => Some(frame),
            First::End(whole) => {
                settle(link, idle_max, &self.kept).await;
                return Ok(Answered {
                    response: Response::from_parts(parts, whole),
                    rest: None,
                });
            }
            First::Failed(error) => return Err(CallError::in_body(&error)),
        };
        let (ending, end) = oneshot::channel();
        let body = Body::stream(Reply {
            first,
            body,
            ending: Some(ending),
        });
        Ok(Answered {
            response: Response::from_parts(parts, body),
            rest: Some(rest(link, end, idle_max, self.kept)),
        })
    }
}

/// What of a body was there with its head.
enum First {
    Nothing,
    Frame(Frame<Bytes>),
    End(Body),
    Failed(hyper::Error),
}

fn first(body: &mut Incoming, link: &mut Link, cx: &mut Context<'_>) -> First {
    if body.is_end_stream() {
        return First::End(Body::Empty);
    }
    let frame = match Pin::new(&mut *body).poll_frame(cx) {
        // The connection hands over a frame only once somebody has asked for it.
        Poll::Pending => {
            link.drive(cx);
            Pin::new(&mut *body).poll_frame(cx)
        }
        ready => ready,
    };
    match frame {
        Poll::Pending => First::Nothing,
        Poll::Ready(None) => First::End(Body::Empty),
        Poll::Ready(Some(Err(error))) => First::Failed(error),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(bytes) if body.is_end_stream() => First::End(Body::from(bytes)),
            Ok(bytes) => First::Frame(Frame::data(bytes)),
            Err(frame) => First::Frame(frame),
        },
    }
}

/// Keeps a connection whose reply is complete, if it can take another request.
async fn settle(mut link: Link, idle_max: Option<Duration>, kept: &Kept) {
    let Some(idle_max) = idle_max else { return };
    if poll_fn(|cx| Poll::Ready(link.settle(cx))).await {
        kept.put(link, idle_max);
    }
}

/// Drives the connection until the reply has ended.
fn rest(
    mut link: Link,
    end: oneshot::Receiver<Option<CallError>>,
    idle_max: Option<Duration>,
    kept: Kept,
) -> Rest<CallError> {
    Box::pin(async move {
        let mut end = pin!(end);
        let ended = poll_fn(|cx| {
            link.drive(cx);
            end.as_mut().poll(cx)
        })
        .await;
        match ended {
            Ok(None) => {
                settle(link, idle_max, &kept).await;
                Ok(())
            }
            Ok(Some(error)) => Err(error),
            Err(_) => Err(CallError::Dropped),
        }
    })
}

/// Copies bytes both ways once the caller's connection is there.
fn tunnel(
    mut link: Link,
    upgrading: hyper::upgrade::OnUpgrade,
    granted: Granted,
    idle_max: Duration,
) -> Rest<CallError> {
    Box::pin(async move {
        let mut upgrading = pin!(upgrading);
        let program = poll_fn(|cx| {
            link.drive(cx);
            upgrading.as_mut().poll(cx)
        })
        .await;
        let program = program.map_err(|_| CallError::Closed)?;
        let caller = granted.await.map_err(|_| CallError::Dropped)?;
        match pump(TokioIo::new(program), caller, idle_max).await {
            // A connection that breaks is an end too, for a protocol that is not ours.
            Ended::Closed => Ok(()),
            Ended::Idle => Err(CallError::Idle {
                idle_max_ms: u64::try_from(idle_max.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    })
}

/// A reply's body, which says how it ended.
struct Reply {
    first: Option<Frame<Bytes>>,
    body: Incoming,
    ending: Option<oneshot::Sender<Option<CallError>>>,
}

impl Reply {
    fn end(&mut self, error: Option<CallError>) {
        if let Some(ending) = self.ending.take() {
            // Nobody drives the rest any more where this fails.
            let _ = ending.send(error);
        }
    }
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match self.first.take() {
            Some(frame) => Some(Ok(frame)),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if self.body.is_end_stream() {
                    self.end(None);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                let error = CallError::in_body(&error);
                let broken = BodyError::Broken(error.to_string());
                self.end(Some(error));
                Some(Err(broken))
            }
            None => {
                self.end(None);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.first.as_ref().and_then(Frame::data_ref);
        let held = held.map_or(0, |bytes| bytes.len() as u64);
        let left = self.body.size_hint();
        match left.exact() {
            Some(bytes) => SizeHint::with_exact(bytes.saturating_add(held)),
            None => left,
        }
    }
}

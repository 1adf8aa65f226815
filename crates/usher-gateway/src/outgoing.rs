//! The body of a reply on its way to the caller. It holds what the request occupies until then.
//!
//! ```text
//!   Flowing ─┬ end ───────────────────────────► complete
//!            ├ error ─► Failing (flush first) ─► cut, without the final chunk
//!            ├ dropped, all owed was sent ─────► complete; the rest is read out in a task
//!            └ dropped before ─────────────────► caller gone; the invocation is cancelled
//! ```
//!
//! Dropping a function's body cancels its invocation and destroys its environment, and hyper drops
//! a body as soon as it has sent what was announced: all of `content-length`, or nothing for HEAD.
//! Such a reply is complete, so its end is awaited here before the body is let go.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;

use crate::connection::Beat;
use crate::head::{Side, cleanse};
use crate::tally::Tally;

/// How much of a body that nobody is owed is read, so that the function can end in peace.
const READ_OUT_MAX_BYTES: u64 = 1024 * 1024;

/// See the module.
pub(crate) struct Outgoing {
    body: Body,
    /// Bytes that the caller is still owed, where the head announces how many.
    owed: Option<u64>,
    status: StatusCode,
    state: State,
    /// None for replies that no function gave.
    tally: Option<Tally>,
    _beat: Beat,
}

enum State {
    Flowing,
    Failing(BodyError),
    Ended,
}

impl Outgoing {
    /// A reply of the gateway itself.
    pub(crate) fn of_gateway(body: Body, beat: Beat) -> Self {
        Self {
            body,
            owed: None,
            status: StatusCode::OK,
            state: State::Flowing,
            tally: None,
            _beat: beat,
        }
    }

    /// A function's reply, of whose body the caller is owed so many bytes, if that is known.
    pub(crate) fn of_function(
        body: Body,
        owed: Option<u64>,
        status: StatusCode,
        tally: Tally,
        beat: Beat,
    ) -> Self {
        let mut outgoing = Self {
            body,
            owed,
            status,
            state: State::Flowing,
            tally: Some(tally),
            _beat: beat,
        };
        if outgoing.body.is_end_stream() {
            outgoing.end();
        }
        outgoing
    }

    fn end(&mut self) {
        self.state = State::Ended;
        if let Some(tally) = &mut self.tally {
            if self.owed.is_some_and(|bytes| bytes > 0) {
                // Hyper cuts the connection: the function ended short of what it announced.
                tally.failed(&Fault::Trap);
            } else {
                tally.complete(self.status);
            }
        }
    }

    fn fail(&mut self, error: BodyError, cx: &mut Context<'_>) {
        if let Some(tally) = &mut self.tally {
            match &error {
                BodyError::Fault(fault) => tally.failed(fault),
                BodyError::Connection(_) => tally.failed(&Fault::Unavailable),
                BodyError::Broken(_) => tally.failed(&Fault::Trap),
            }
        }
        // Hyper forgets what it has not flushed when a body fails. What the function had written
        // before is the caller's, so the error waits for one turn, in which hyper flushes.
        self.state = State::Failing(error);
        cx.waker().wake_by_ref();
    }

    fn pass(&mut self, frame: &mut Frame<Bytes>, cx: &mut Context<'_>) {
        if let Some(data) = frame.data_ref() {
            let bytes = data.len() as u64;
            self.owed = self.owed.map(|owed| owed.saturating_sub(bytes));
            if let Some(tally) = &mut self.tally {
                tally.sent(bytes);
            }
        } else if let Some(trailers) = frame.trailers_mut() {
            cleanse(trailers, Side::Function);
        }
        if self.body.is_end_stream() {
            self.end();
        } else if self.owed == Some(0) {
            self.look_for_end(cx);
        }
    }

    /// Hyper will not ask again once all that was announced is sent. Most functions end with their
    /// last byte, and then there is nothing to await.
    fn look_for_end(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(last) = Pin::new(&mut self.body).poll_frame(cx) {
            // Whatever comes behind the announced end cannot be sent.
            if last.is_some() {
                self.body = Body::Empty;
            }
            self.end();
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match std::mem::replace(&mut self.state, State::Flowing) {
            State::Flowing => {}
            State::Ended => {
                self.state = State::Ended;
                return Poll::Ready(None);
            }
            State::Failing(error) => {
                self.state = State::Ended;
                return Poll::Ready(Some(Err(error)));
            }
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) if self.owed.is_some_and(|bytes| bytes > 0) => {
                let short = "the function ended short of its content-length".to_owned();
                self.fail(BodyError::Broken(short), cx);
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(error, cx);
                Poll::Pending
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                self.pass(&mut frame, cx);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Flowing => self.body.is_end_stream(),
            State::Failing(_) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !matches!(self.state, State::Flowing) || self.owed != Some(0) {
            return;
        }
        let Some(mut tally) = self.tally.take() else {
            return;
        };
        tally.complete(self.status);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(read_out(std::mem::take(&mut self.body), tally));
        }
    }
}

/// Lets the function come to its end although the caller has all of the reply. How long that may
/// take is the engine's to say; the permit is held meanwhile.
async fn read_out(mut body: Body, tally: Tally) {
    let mut left_bytes = READ_OUT_MAX_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(left) = left_bytes.checked_sub(bytes) else {
            break;
        };
        left_bytes = left;
    }
    drop(body);
    drop(tally);
}

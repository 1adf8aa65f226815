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
//!
//! HTTP/2 takes a reply piece by piece, as the client opens its window. What a function gives out at
//! once is given on in small pieces there, so that no more than one of them waits out of sight, and
//! what was announced is all that is given: there the protocol does not see to it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;

use crate::connection::Beat;
use crate::head::{Side, cleanse};
use crate::streams::Flow;
use crate::tally::Tally;

/// How much of a body that nobody is owed is read, so that the function can end in peace.
const READ_OUT_MAX_BYTES: u64 = 1024 * 1024;

/// How much of a reply is given to HTTP/2 at once, in bytes: what fits into one frame.
const PIECE_MAX_BYTES: usize = 16 * 1024;

/// See the module.
pub(crate) struct Outgoing {
    body: Body,
    /// Bytes that the caller is still owed, where the head announces how many.
    owed: Option<u64>,
    status: StatusCode,
    state: State,
    /// None for replies that no function gave.
    tally: Option<Tally>,
    beat: Beat,
    /// None on HTTP/1.1.
    flow: Option<Arc<Flow>>,
    /// What the function gave out and HTTP/2 has not taken yet.
    rest: Bytes,
}

enum State {
    Flowing,
    /// With the connection's turn that is waited for; HTTP/2 only.
    Failing(BodyError, u64),
    Ended,
}

impl Outgoing {
    /// A reply of the gateway itself.
    pub(crate) fn of_gateway(body: Body, beat: Beat) -> Self {
        beat.complete();
        Self {
            body,
            owed: None,
            status: StatusCode::OK,
            state: State::Flowing,
            tally: None,
            beat,
            flow: Flow::current(),
            rest: Bytes::new(),
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
            beat,
            flow: Flow::current(),
            rest: Bytes::new(),
        };
        if outgoing.body.is_end_stream() {
            outgoing.end();
        }
        outgoing
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.beat.complete();
        let short = self.is_short();
        if let Some(tally) = &mut self.tally {
            if short {
                // Hyper cuts the connection: the function ended short of what it announced.
                tally.failed(&Fault::Trap);
            } else {
                tally.complete(self.status);
            }
        }
    }

    fn fail_short<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let short = "the function ended short of its content-length".to_owned();
        self.fail(BodyError::Broken(short), cx);
        Poll::Pending
    }

    fn fail(&mut self, error: BodyError, cx: &mut Context<'_>) {
        if let Some(tally) = &mut self.tally {
            match &error {
                BodyError::Fault(fault) => tally.failed(fault),
                BodyError::Connection(_) => tally.failed(&Fault::Unavailable),
                BodyError::Broken(_) => tally.failed(&Fault::Trap),
            }
        }
        self.beat.complete();
        // Hyper forgets what it has not flushed when a body fails. What the function had written
        // before is the caller's, so the error waits for one turn, in which hyper flushes.
        let turns = &self.beat.connection().turns;
        let turn = turns.next();
        match self.flow {
            Some(_) => drop(turns.poll_ended(turn, cx)),
            None => cx.waker().wake_by_ref(),
        }
        self.state = State::Failing(error, turn);
    }

    fn pass(&mut self, frame: &mut Frame<Bytes>, cx: &mut Context<'_>) {
        if let Some(data) = frame.data_mut() {
            let bytes = data.len() as u64;
            if let Some(owed) = self.owed {
                data.truncate(usize::try_from(owed).unwrap_or(usize::MAX));
                self.owed = Some(owed.saturating_sub(bytes));
            }
            if self.flow.is_some() {
                self.rest = data.split_off(data.len().min(PIECE_MAX_BYTES));
            }
        } else if let Some(trailers) = frame.trailers_mut() {
            cleanse(trailers, Side::Function);
            // Nothing comes behind them, and hyper does not ask again.
            self.owed = Some(0);
        }
        self.settle(cx);
    }

    /// Sees whether what was given out just now was the last of it.
    fn settle(&mut self, cx: &mut Context<'_>) {
        if !self.rest.is_empty() {
            return;
        }
        if self.body.is_end_stream() {
            self.end();
        } else if self.owed == Some(0) {
            self.look_for_end(cx);
        }
    }

    /// The next piece of what the function gave out before, for HTTP/2.
    fn piece(&mut self, cx: &mut Context<'_>) -> Option<Frame<Bytes>> {
        let flow = self.flow.as_ref()?;
        flow.taken();
        if self.rest.is_empty() {
            return None;
        }
        flow.give();
        self.beat.connection().pulse.moved();
        let bytes = self.rest.len().min(PIECE_MAX_BYTES);
        let piece = self.rest.split_to(bytes);
        self.settle(cx);
        Some(Frame::data(piece))
    }

    /// The function has ended, or gives trailers, before all that it announced is there.
    fn is_short(&self) -> bool {
        self.owed.is_some_and(|bytes| bytes > 0)
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
        if let Some(piece) = self.piece(cx) {
            return Poll::Ready(Some(Ok(piece)));
        }
        match std::mem::replace(&mut self.state, State::Flowing) {
            State::Flowing => {}
            State::Ended => {
                self.state = State::Ended;
                return Poll::Ready(None);
            }
            State::Failing(error, turn) => {
                let turns = &self.beat.connection().turns;
                if self.flow.is_some() && turns.poll_ended(turn, cx).is_pending() {
                    self.state = State::Failing(error, turn);
                    return Poll::Pending;
                }
                self.state = State::Ended;
                return Poll::Ready(Some(Err(error)));
            }
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) if self.is_short() => self.fail_short(cx),
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() && self.is_short() => {
                self.fail_short(cx)
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
                if let Some(flow) = &self.flow {
                    flow.give();
                    self.beat.connection().pulse.moved();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        if !self.rest.is_empty() {
            return false;
        }
        match self.state {
            // HTTP/1.1 sees by itself that nothing more is owed.
            State::Flowing => {
                self.body.is_end_stream() || self.flow.is_some() && self.owed == Some(0)
            }
            State::Failing(..) => false,
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        let all_given = self.owed == Some(0) && self.rest.is_empty();
        if !matches!(self.state, State::Flowing) || !all_given {
            return;
        }
        let Some(mut tally) = self.tally.take() else {
            return;
        };
        self.beat.complete();
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

//! The body of a reply on its way out of a store, and what its run may know of it.
//!
//! The body of wasi:http 0.3 flows through the store, so that the store has to be driven until it
//! was taken. Until its head is offered, what comes without waiting is gathered here: a short reply
//! is then whole before anybody has seen it. Deliberately absent: who drives.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body as HttpBody, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

/// Bytes that are gathered before the head is offered.
const GATHERED_MAX_BYTES: usize = 64 << 10;

/// The body of a reply.
pub(crate) struct Reply {
    gathered: VecDeque<Frame<Bytes>>,
    gathered_bytes: usize,
    /// None once it has come to its end, or has broken off.
    rest: Option<WasiBody>,
    broken: Option<Box<Error>>,
    taken: Option<Arc<Taken>>,
}

impl Reply {
    /// A body that needs nothing of its store: that of wasi:http 0.2.
    pub(crate) fn apart(body: WasiBody) -> Self {
        Self {
            gathered: VecDeque::new(),
            gathered_bytes: 0,
            rest: Some(body),
            broken: None,
            taken: None,
        }
    }

    /// A body that flows as long as its store is driven, which `taken` says when it ends.
    pub(crate) fn flowing(body: WasiBody, taken: Arc<Taken>) -> Self {
        let mut reply = Self::apart(body);
        reply.taken = Some(taken);
        reply
    }

    /// Takes in what is there, within a bound.
    pub(crate) fn gather(&mut self, cx: &mut Context<'_>) {
        while self.gathered_bytes < GATHERED_MAX_BYTES {
            match self.poll_rest(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.gathered_bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.gathered.push_back(frame);
                }
                Poll::Ready(Some(Err(error))) => self.broken = Some(Box::new(error)),
                Poll::Ready(None) | Poll::Pending => return,
            }
        }
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(rest).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
            self.tell();
        }
        polled
    }

    fn tell(&self) {
        if let Some(taken) = &self.taken {
            taken.tell();
        }
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.gathered.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(*error)));
        }
        self.poll_rest(cx)
    }

    fn is_end_stream(&self) -> bool {
        let rest_is_over = self.rest.as_ref().is_none_or(|rest| {
            // A reader that was promised a length does not ask whether there is more.
            let promised = self.taken.is_some() && rest.size_hint().exact() == Some(0);
            promised || rest.is_end_stream()
        });
        self.gathered.is_empty() && self.broken.is_none() && rest_is_over
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref();
        let rest = rest.map_or(SizeHint::with_exact(0), HttpBody::size_hint);
        let gathered = self.gathered.iter().filter_map(Frame::data_ref);
        let gathered = gathered.map(|data| data.len() as u64).sum::<u64>();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + gathered);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + gathered);
        }
        hint
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.tell();
    }
}

/// Whether a body still flows.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    over: AtomicBool,
    waker: AtomicWaker,
}

impl Taken {
    /// It does not: it was read to its end, or nobody will read it.
    pub(crate) fn tell(&self) {
        self.over.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Ready once it does not.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        match self.over.load(Ordering::Acquire) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[test]
    fn what_was_gathered_comes_first_and_tells_of_the_end() {
        let taken = Arc::new(Taken::default());
        let full = Full::new(Bytes::from_static(b"text")).map_err(|never| match never {});
        let mut reply = Reply::flowing(full.boxed_unsync(), taken.clone());
        assert!(taken.poll(&mut context()).is_pending());
        reply.gather(&mut context());
        assert!(taken.poll(&mut context()).is_ready());
        assert!(!reply.is_end_stream());
        assert_eq!(reply.size_hint().exact(), Some(4));
        let polled = Pin::new(&mut reply).poll_frame(&mut context());
        let Poll::Ready(Some(Ok(frame))) = polled else {
            panic!("nothing was gathered");
        };
        assert_eq!(frame.into_data().ok(), Some(Bytes::from_static(b"text")));
        assert!(reply.is_end_stream());
    }

    #[test]
    fn gathering_stops_at_its_bound() {
        let piece = Bytes::from(vec![0; 10_000]);
        let pieces = std::iter::repeat_n(piece, 100).map(|piece| Ok(Frame::data(piece)));
        let endless = StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
        let mut reply = Reply::flowing(endless, Arc::default());
        reply.gather(&mut context());
        assert_eq!(reply.gathered.len(), GATHERED_MAX_BYTES.div_ceil(10_000));
    }

    #[test]
    fn a_broken_body_breaks_after_what_was_gathered() {
        let pieces = [
            Ok(Frame::data(Bytes::from_static(b"x"))),
            Err(Error::ConnectionTerminated),
        ];
        let broken = StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync();
        let mut reply = Reply::flowing(broken, Arc::default());
        reply.gather(&mut context());
        assert!(!reply.is_end_stream());
        let mut next = || Pin::new(&mut reply).poll_frame(&mut context());
        assert!(matches!(next(), Poll::Ready(Some(Ok(_)))));
        assert!(matches!(next(), Poll::Ready(Some(Err(_)))));
        assert!(matches!(next(), Poll::Ready(None)));
    }
}

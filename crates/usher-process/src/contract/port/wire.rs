//! The connection to a program, counted: what was read since a request began, and whether a write
//! failed.
//!
//! A program may answer before it has read the request, and close. Writing then fails while the
//! answer waits to be read, so a failed write stands still here, and reading tells what became of
//! the request. Interim replies come before a head without a bound of their own; they count here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What may come before a reply's head is complete, in bytes, one read more or less.
const BEFORE_HEAD_MAX_BYTES: usize = 2 * super::link::HEAD_MAX_BYTES;

/// What is known of the bytes of a connection. Written by the task that drives it.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    read_bytes: AtomicUsize,
    awaits_head: AtomicBool,
    flooded: AtomicBool,
}

impl Gauge {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.read_bytes.store(0, Relaxed);
        self.awaits_head.store(true, Relaxed);
    }

    /// The reply's head is complete.
    pub(super) fn head_complete(&self) {
        self.awaits_head.store(false, Relaxed);
    }

    /// Whether no byte was read since the request began.
    pub(super) fn is_silent(&self) -> bool {
        self.read_bytes.load(Relaxed) == 0
    }

    /// Whether more came than may come before a head.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Relaxed)
    }
}

/// See the module.
pub(super) struct Wire {
    stream: TcpStream,
    gauge: Arc<Gauge>,
    /// A write has failed; only reading tells more.
    mute: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, gauge: Arc<Gauge>) -> Self {
        Self {
            stream,
            gauge,
            mute: false,
        }
    }

    fn written<T>(&mut self, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match outcome {
            Poll::Ready(Err(_)) => {
                self.mute = true;
                Poll::Pending
            }
            outcome => outcome,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let gauge = Arc::clone(&self.gauge);
        let so_far = gauge.read_bytes.load(Relaxed);
        if gauge.awaits_head.load(Relaxed) && so_far > BEFORE_HEAD_MAX_BYTES {
            gauge.flooded.store(true, Relaxed);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        let read = buf.filled().len().saturating_sub(before);
        gauge.read_bytes.store(so_far.saturating_add(read), Relaxed);
        outcome
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.mute {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.mute {
            return Poll::Pending;
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.written(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

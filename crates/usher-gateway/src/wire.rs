//! The socket of a connection, with a bound on how long the client may take nothing, and what is
//! watched of the bytes that come in.
//!
//! ```text
//!   HTTP/1.1: every head is looked at, see `strict`; at the end the rest of a request that nobody
//!             reads any more is read away for a while, so that the client sees the answer and not
//!             a reset
//!   HTTP/2:   bytes are counted that neither a request nor a body comes of
//! ```
//!
//! The timer exists only while a write waits, so a reply that the kernel takes at once costs one
//! comparison. Deliberately absent: bounds on reading, see `pace`.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::connection::Connection;
use crate::strict::Strict;

/// How much of a request that nobody wants is read at once, in bytes.
const LINGER_PIECE_BYTES: usize = 16 * 1024;

/// A socket that fails with [`io::ErrorKind::TimedOut`] when a write made no progress for too long.
pub(crate) struct Wire<S> {
    socket: S,
    /// What was read of the connection to find out its protocol.
    first: Bytes,
    connection: Arc<Connection>,
    watch: Watch,
    stalled: Option<Pin<Box<Sleep>>>,
    lingering: Option<Linger>,
}

/// What is watched of the bytes that come in.
enum Watch {
    Heads(Strict),
    Frames,
}

/// What is left of the time and of the bytes that a client has at the end.
struct Linger {
    timer: Pin<Box<Sleep>>,
    left_bytes: u64,
}

impl<S> Wire<S> {
    /// Of a connection that speaks HTTP/1.1.
    pub(crate) fn of_heads(socket: S, first: Bytes, connection: Arc<Connection>) -> Self {
        let strict = Strict::new(connection.gateway.bounds.head_max_bytes);
        Self::new(socket, first, connection, Watch::Heads(strict))
    }

    /// Of a connection that speaks HTTP/2.
    pub(crate) fn of_frames(socket: S, first: Bytes, connection: Arc<Connection>) -> Self {
        Self::new(socket, first, connection, Watch::Frames)
    }

    fn new(socket: S, first: Bytes, connection: Arc<Connection>, watch: Watch) -> Self {
        Self {
            socket,
            first,
            connection,
            watch,
            stalled: None,
            lingering: None,
        }
    }

    /// Passes a write's outcome on, and keeps the time while there is none.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.stalled.is_some() {
                self.stalled = None;
            }
            return outcome;
        }
        let stall_max = Duration::from_millis(self.connection.gateway.bounds.write_stall_max_ms);
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall_max)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Looks at bytes that came in.
    fn came(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let pulse = &self.connection.pulse;
        match &mut self.watch {
            Watch::Heads(strict) => {
                pulse.stir();
                strict.pass(bytes);
            }
            Watch::Frames => {
                let chatter_max = self.connection.gateway.bounds.chatter_max_bytes;
                if pulse.hear(bytes.len() as u64) > chatter_max {
                    let client = &self.connection.forwarded_for;
                    tracing::debug!(?client, "a connection was cut that only talked");
                    return Err(io::ErrorKind::InvalidData.into());
                }
            }
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads away what the client still sends of a request that nobody reads.
    fn linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let bounds = self.connection.gateway.bounds;
        let linger = self.lingering.get_or_insert_with(|| Linger {
            timer: Box::pin(tokio::time::sleep(Duration::from_millis(
                bounds.linger_max_ms,
            ))),
            left_bytes: bounds.linger_max_bytes,
        });
        let mut piece = [0; LINGER_PIECE_BYTES];
        loop {
            if linger.timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let mut piece = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut piece));
            let bytes = piece.filled().len() as u64;
            match linger.left_bytes.checked_sub(bytes) {
                Some(left) if bytes > 0 && read.is_ok() => linger.left_bytes = left,
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if !self.first.is_empty() {
            let bytes = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..bytes]);
            self.first.advance(bytes);
        } else {
            ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        }
        Poll::Ready(self.came(&mut buf.filled_mut()[before..]))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watch(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.watch(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let outcome = Pin::new(&mut self.socket).poll_shutdown(cx);
            ready!(self.watch(cx, outcome))?;
        }
        match &self.watch {
            Watch::Heads(strict) if strict.is_within() => self.linger(cx).map(Ok),
            _ => Poll::Ready(Ok(())),
        }
    }
}

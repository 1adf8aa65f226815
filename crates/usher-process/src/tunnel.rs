//! Bytes copied both ways between two connections, until either side ends or nothing moves.
//!
//! What was read of the side that ended is still written to the other (RFC 9110, 9.3.6), and then
//! both are closed. Buffers hold [`PIECE_MAX_BYTES`] each way.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Bytes that are held each way.
const PIECE_MAX_BYTES: usize = 16 * 1024;

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// One side closed its connection, or it broke.
    Closed,
    /// Nothing moved for too long.
    Idle,
}

/// How often bytes have moved.
#[derive(Debug, Default)]
pub(crate) struct Moved(AtomicU64);

/// Waits until nothing has moved for so long, up to twice as long.
pub(crate) async fn stands_still(moved: &Moved, idle_max: Duration) {
    loop {
        let before = moved.0.load(Relaxed);
        tokio::time::sleep(idle_max).await;
        if moved.0.load(Relaxed) == before {
            return;
        }
    }
}

/// Copies until either side ends, or nothing has moved for `idle_max`, up to twice as long.
pub(crate) async fn pump<A, B>(one: A, other: B, idle_max: Duration) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = Arc::<Moved>::default();
    let one = Counted::new(one, Arc::clone(&moved));
    let other = Counted::new(other, Arc::clone(&moved));
    let (mut one_reads, mut one_writes) = tokio::io::split(one);
    let (mut other_reads, mut other_writes) = tokio::io::split(other);
    let ended = tokio::select! {
        () = copy(&mut one_reads, &mut other_writes) => Ended::Closed,
        () = copy(&mut other_reads, &mut one_writes) => Ended::Closed,
        () = stands_still(&moved, idle_max) => return Ended::Idle,
    };
    // Whoever takes nothing any more is not waited for.
    let close = async { tokio::join!(one_writes.shutdown(), other_writes.shutdown()) };
    let _ = tokio::time::timeout(idle_max, close).await;
    ended
}

/// Copies until the reader ends or either breaks.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) {
    let mut piece = vec![0; PIECE_MAX_BYTES];
    loop {
        let length = match from.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        if to.write_all(&piece[..length]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

/// A connection whose bytes are noted as they move.
pub(crate) struct Counted<S> {
    stream: S,
    moved: Arc<Moved>,
}

impl<S> Counted<S> {
    pub(crate) fn new(stream: S, moved: Arc<Moved>) -> Self {
        Self { stream, moved }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.moved.0.fetch_add(1, Relaxed);
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if matches!(outcome, Poll::Ready(Ok(1..))) {
            self.moved.0.fetch_add(1, Relaxed);
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

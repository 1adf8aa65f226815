//! Bytes copied both ways between two connections, until either side ends or nothing moves.
//!
//! What was read of the side that ended is still written to the other (RFC 9110, 9.3.6), and then
//! both are closed. Buffers hold [`PIECE_MAX_BYTES`] each way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

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

/// Copies until either side ends, or nothing has moved for `idle_max`, up to twice as long.
pub(crate) async fn pump<A, B>(one: A, other: B, idle_max: Duration) -> Ended
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let moved = AtomicU64::new(0);
    let (mut one_reads, mut one_writes) = tokio::io::split(one);
    let (mut other_reads, mut other_writes) = tokio::io::split(other);
    let ended = tokio::select! {
        () = copy(&mut one_reads, &mut other_writes, &moved) => Ended::Closed,
        () = copy(&mut other_reads, &mut one_writes, &moved) => Ended::Closed,
        () = stands_still(&moved, idle_max) => return Ended::Idle,
    };
    // Whoever takes nothing any more is not waited for.
    let close = async { tokio::join!(one_writes.shutdown(), other_writes.shutdown()) };
    let _ = tokio::time::timeout(idle_max, close).await;
    ended
}

/// Copies until the reader ends or either breaks.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &AtomicU64,
) {
    let mut piece = vec![0; PIECE_MAX_BYTES];
    loop {
        let length = match from.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        if to.write_all(&piece[..length]).await.is_err() || to.flush().await.is_err() {
            return;
        }
        moved.fetch_add(1, Relaxed);
    }
}

async fn stands_still(moved: &AtomicU64, idle_max: Duration) {
    loop {
        let before = moved.load(Relaxed);
        tokio::time::sleep(idle_max).await;
        if moved.load(Relaxed) == before {
            return;
        }
    }
}

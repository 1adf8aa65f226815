//! The listener and the connections of one environment's Runtime API.
//!
//! ```text
//! accept, while there is a place ─► connection ─ calls, one after the other ─► closed
//!                                        └ a head that does not get on ─────► cut
//! ```
//!
//! One task has them all, so that a program can keep no more than one thread of the platform busy.
//! Connections beyond [`CONNECTIONS_MAX`] wait in the kernel, at the program's own cost.
//! Deliberately absent: a limit on how long a call may take, which is the invocation's own.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use super::calls::answer;
use super::desk::{Closed, Desk};

/// How many connections a program may have. Clients have one, and a second one for a failed
/// initialisation or an extension.
pub(super) const CONNECTIONS_MAX: usize = 8;

/// The largest head of a call, in bytes: the Python client sends up to 1 MiB in one header.
const HEAD_MAX_BYTES: usize = 1024 * 1024 + 64 * 1024;

/// How long the rest of a head may take to come, in milliseconds, and at most twice that.
const HEAD_WAIT_MAX_MS: u64 = 10_000;

/// Serves until the listener fails or the program is out of order.
pub(super) async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = FuturesUnordered::new();
    let mut seen = desk.watch();
    let mut disorder = pin!(seen.wait_for(|seen| seen.closed.is_some()));
    loop {
        let room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            _ = &mut disorder => return,
            Some(()) = connections.next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((socket, _)) => connections.push(connection(socket, Arc::clone(&desk))),
                // The program has given up on a connection that nobody had accepted yet.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(
                        %error,
                        function = desk.about.name,
                        "the Runtime API of an environment ended: its listener failed"
                    );
                    desk.close(Closed::Listener);
                    return;
                }
            },
        }
    }
}

/// What a connection has taken in, and whether a call is under way.
#[derive(Default)]
struct Pulse {
    read_bytes: AtomicU64,
    /// What had been read when the last call began; heads begin after it.
    called_bytes: AtomicU64,
    busy: AtomicBool,
}

async fn connection(socket: TcpStream, desk: Arc<Desk>) {
    // Events and their answers are small and must not wait for each other.
    let _ = socket.set_nodelay(true);
    let pulse = Arc::new(Pulse::default());
    let of_calls = Arc::clone(&pulse);
    let service = service_fn(move |request| {
        let (desk, pulse) = (Arc::clone(&desk), Arc::clone(&of_calls));
        async move {
            pulse.busy.store(true, Ordering::Relaxed);
            let outcome = answer(desk, request).await;
            let read = pulse.read_bytes.load(Ordering::Relaxed);
            pulse.called_bytes.store(read, Ordering::Relaxed);
            pulse.busy.store(false, Ordering::Relaxed);
            outcome
        }
    });
    let watched = Watched {
        socket,
        pulse: Arc::clone(&pulse),
    };
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_MAX_BYTES)
        .max_header_size(HEAD_MAX_BYTES);
    let mut http = pin!(http.serve_connection(TokioIo::new(watched), service));
    let mut tick = tokio::time::interval(Duration::from_millis(HEAD_WAIT_MAX_MS));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stuck_at = None;
    loop {
        tokio::select! {
            ended = &mut http => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a program's connection ended early");
                }
                return;
            }
            _ = tick.tick() => {
                let called = pulse.called_bytes.load(Ordering::Relaxed);
                let in_head = !pulse.busy.load(Ordering::Relaxed)
                    && pulse.read_bytes.load(Ordering::Relaxed) > called;
                if in_head && stuck_at == Some(called) {
                    tracing::debug!("a program's connection was cut: its call has no end");
                    return;
                }
                stuck_at = in_head.then_some(called);
            }
        }
    }
}

/// A socket that counts what is read from it.
struct Watched {
    socket: TcpStream,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.socket).poll_read(cx, buf);
        let read = (buf.filled().len() - before) as u64;
        self.pulse.read_bytes.fetch_add(read, Ordering::Relaxed);
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

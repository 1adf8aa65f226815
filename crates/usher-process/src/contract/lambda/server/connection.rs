//! One connection's calls, one after the other, until either side ends it.
//!
//! Deliberately absent: the answers (`calls`), and the socket itself (`line`), which stays open
//! when this is dropped.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::calls::answer;
use super::super::desk::Desk;
use super::line::Line;

/// The largest head of a call, in bytes: the Python client sends up to 1 MiB in one header.
const HEAD_MAX_BYTES: usize = 1024 * 1024 + 64 * 1024;

/// How long the rest of a head may take to come, in milliseconds, and at most twice that.
const HEAD_WAIT_MAX_MS: u64 = 10_000;

/// What a connection has taken in, and whether a call is under way.
#[derive(Default)]
struct Pulse {
    read_bytes: AtomicU64,
    /// What had been read when the last call began; heads begin after it.
    called_bytes: AtomicU64,
    busy: AtomicBool,
}

/// Serves a connection, beginning with `input`, as if that came from the socket; and closes it.
pub(super) async fn connection(line: Arc<Line>, input: Bytes, desk: Arc<Desk>) -> Arc<Line> {
    serve(&line, input, desk).await;
    // Somebody may remember it, which must not keep it open.
    line.end();
    line
}

async fn serve(line: &Arc<Line>, input: Bytes, desk: Arc<Desk>) {
    let pulse = Arc::new(Pulse::default());
    let (of_calls, of_line) = (pulse.clone(), line.clone());
    let service = service_fn(move |request| {
        let (desk, pulse, line) = (desk.clone(), of_calls.clone(), of_line.clone());
        async move {
            pulse.busy.store(true, Ordering::Relaxed);
            let outcome = answer(desk, request).await;
            let read = pulse.read_bytes.load(Ordering::Relaxed);
            pulse.called_bytes.store(read, Ordering::Relaxed);
            pulse.busy.store(false, Ordering::Relaxed);
            line.answered();
            outcome
        }
    });
    let watched = Watched {
        line: line.clone(),
        input,
        pulse: pulse.clone(),
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

/// A socket that counts what is read from it, after what is taken for read.
struct Watched {
    line: Arc<Line>,
    input: Bytes,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = if self.input.is_empty() {
            self.line.poll_read(cx, buf)
        } else {
            let fits = self.input.len().min(buf.remaining());
            buf.put_slice(&self.input[..fits]);
            self.input.advance(fits);
            Poll::Ready(Ok(()))
        };
        let read = (buf.filled().len() - before) as u64;
        self.pulse.read_bytes.fetch_add(read, Ordering::Relaxed);
        outcome
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.line.poll_write(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.line.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.line.finish())
    }
}

//! A guest's standard output and error, on their way to the function's log.
//!
//! Writes go straight to the [`GuestOutput`], which never blocks, so a guest never waits for its
//! log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use usher_core::id::RequestId;
use usher_engine::{GuestOutput, GuestStream};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes that a guest may write in one call.
const WRITE_MAX_BYTES: usize = 64 << 10;

/// One of a guest's two streams.
#[derive(Clone)]
pub(crate) struct LogStream {
    request: RequestId,
    stream: GuestStream,
    output: Arc<dyn GuestOutput>,
}

/// Standard output and error of one run.
pub(crate) fn streams(request: RequestId, output: &Arc<dyn GuestOutput>) -> (LogStream, LogStream) {
    let stream = |stream| LogStream {
        request,
        stream,
        output: output.clone(),
    };
    (stream(GuestStream::Stdout), stream(GuestStream::Stderr))
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(self.request, self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LogStream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.output.write(self.request, self.stream, buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

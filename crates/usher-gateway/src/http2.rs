//! HTTP/2: many requests at once on one connection, each in a task of its own.
//!
//! | what a client does too much of | what bounds it |
//! | --- | --- |
//! | requests at once | `streams_max`, told in SETTINGS; more are refused |
//! | requests begun and given up | `abandoned_max`, then the connection is cut |
//! | headers, CONTINUATION frames | `head_max_bytes` (431; far beyond it GOAWAY) |
//! | pings, settings, other talk | answered one after the other; `chatter_max_bytes`, then cut |
//! | body that nobody reads | `window_bytes` for a request, four times that for a connection |
//! | replies that are not taken | `write_stall_max_ms` for a request and for a connection |
//!
//! Deliberately absent: timers (`connection`), and the frames themselves, which are hyper's.

use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::answer::answer;
use crate::connection::{Connection, drive};
use crate::hello::Speaks;
use crate::streams::Streams;
use crate::wire::Wire;

/// The largest frame that is taken, in bytes: the least that the protocol allows, so that a frame
/// that is not complete yet holds little memory.
const FRAME_MAX_BYTES: u32 = 16 * 1024;
/// What of one reply the connection keeps for the client to take, in bytes.
const SEND_BUFFER_MAX_BYTES: usize = 64 * 1024;
/// The connection's window, in windows of one request.
const CONNECTION_WINDOWS: u32 = 4;
/// Requests that were reset before they were looked at, or that are reset for what is wrong with
/// them; beyond it the connection is told to go away.
const RESETS_MAX: usize = 64;

/// Serves a connection's requests, until it ends. `first` was read of it already.
pub(crate) async fn serve<S>(
    socket: S,
    first: Bytes,
    connection: &Arc<Connection>,
    stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let bounds = connection.gateway.bounds;
    let streams = Streams::new(bounds.write_stall_max_ms);
    let wire = Wire::of_frames(socket, first, Arc::clone(connection));
    let serving = Arc::clone(connection);
    let service =
        service_fn(move |request: http::Request<Incoming>| answer(Arc::clone(&serving), request));
    let mut http = http2::Builder::new(streams.spawner());
    http.max_concurrent_streams(bounds.streams_max)
        .max_header_list_size(bounds.head_max_bytes)
        .max_frame_size(FRAME_MAX_BYTES)
        .initial_stream_window_size(bounds.window_bytes)
        .initial_connection_window_size(bounds.window_bytes.saturating_mul(CONNECTION_WINDOWS))
        .max_send_buf_size(SEND_BUFFER_MAX_BYTES)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX);
    {
        let http = pin!(http.serve_connection(TokioIo::new(wire), service));
        let finish = |http: Pin<&mut _>| http2::Connection::graceful_shutdown(http);
        drive(http, finish, Speaks::Http2, connection, stop).await;
    }
    streams.end().await;
}

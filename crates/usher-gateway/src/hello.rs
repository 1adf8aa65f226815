//! The first bytes of a connection, which say what it speaks.
//!
//! ```text
//!   clear ─ peek ─┬ `PRI` ─────► HTTP/2 (prior knowledge, RFC 9113, 3.3)
//!                 └ else ──────► HTTP/1.1
//!   TLS ─ handshake ─┬ ALPN `h2` ► HTTP/2
//!                    └ else ─────► HTTP/1.1
//! ```
//!
//! A connection costs one look without reading, and a request nothing. Whoever says nothing within
//! the time for a head, or shakes hands for longer than that may take, is let go.
//!
//! Deliberately absent: HTTP/1.1's own change to `h2c`, which browsers never made and RFC 9113 took
//! back.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::server::Shared;
use crate::tls::ALPN_HTTP_2;

/// What a connection of HTTP/2 begins with; no other method has this name.
const PREFACE: &[u8; 3] = b"PRI";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

/// Finds out what a client on the clear port speaks, and what was read for that. None: it has gone,
/// said nothing in time, or the gateway stops before it has said anything.
pub(crate) async fn clear(
    socket: &mut TcpStream,
    gateway: &Shared,
    mut stop: watch::Receiver<bool>,
) -> Option<(Speaks, Bytes)> {
    let wait_max = Duration::from_millis(gateway.bounds.head_wait_max_ms);
    let mut seen = [0; PREFACE.len()];
    let peeked = tokio::select! {
        biased;
        peeked = tokio::time::timeout(wait_max, socket.peek(&mut seen)) => peeked,
        _ = stop.changed() => return None,
    };
    let bytes = peeked.ok()?.ok()?;
    match &seen[..bytes] {
        [] => None,
        seen if seen == PREFACE => Some((Speaks::Http2, Bytes::new())),
        seen if !PREFACE.starts_with(seen) => Some((Speaks::Http1, Bytes::new())),
        _ => {
            let read = tokio::time::timeout(wait_max, begin(socket));
            read.await.ok()?.ok()
        }
    }
}

/// Reads as far as both protocols are the same; a look would return at once for ever.
async fn begin(socket: &mut TcpStream) -> io::Result<(Speaks, Bytes)> {
    let mut seen = Vec::with_capacity(PREFACE.len());
    while seen.len() < PREFACE.len() && PREFACE.starts_with(&seen) {
        seen.push(socket.read_u8().await?);
    }
    let speaks = match seen == PREFACE {
        true => Speaks::Http2,
        false => Speaks::Http1,
    };
    Ok((speaks, seen.into()))
}

/// Shakes hands with a client on the TLS port. None: it took too long, or it is no client of ours.
pub(crate) async fn secure(
    socket: TcpStream,
    acceptor: &TlsAcceptor,
    gateway: &Shared,
    mut stop: watch::Receiver<bool>,
) -> Option<(Speaks, TlsStream<TcpStream>)> {
    let wait_max = Duration::from_millis(gateway.bounds.handshake_wait_max_ms);
    let shaken = async {
        // Never closed, so never an error.
        let _turn = gateway.handshakes.acquire().await.ok()?;
        acceptor.accept(socket).await.ok()
    };
    let stream = tokio::select! {
        biased;
        shaken = tokio::time::timeout(wait_max, shaken) => shaken.ok()??,
        _ = stop.changed() => return None,
    };
    let speaks = match stream.get_ref().1.alpn_protocol() {
        Some(ALPN_HTTP_2) => Speaks::Http2,
        _ => Speaks::Http1,
    };
    Some((speaks, stream))
}

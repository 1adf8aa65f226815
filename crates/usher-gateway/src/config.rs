//! What a gateway is told when it starts. Every bound has its unit in its name, and every default
//! works.
//!
//! Deliberately absent: bounds of single functions, which come with their revisions, and reading
//! files or the environment, which the binary does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use usher_core::route::Domain;

use crate::tls::Certificates;

/// Where a gateway listens and how much it takes on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it listens for TLS, and with which certificates; none: nowhere.
    pub tls: Option<Tls>,
    /// Under which domain functions have host names: `NAME.<domain>`, `NAME.OWNER.<domain>`.
    pub domain: Domain,
    /// Bounds over all functions.
    pub bounds: Bounds,
}

/// The side of a gateway that speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it shows to clients.
    pub certificates: Arc<Certificates>,
}

/// Bounds over all functions and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// TLS handshakes at once; further ones wait, within their own time.
    pub handshakes_max: usize,
    /// How long a TLS handshake may take, in milliseconds, the wait for its turn included.
    pub handshake_wait_max_ms: u64,
    /// A request's line and headers, in bytes; beyond it the answer is 431. HTTP/2 counts 32 bytes
    /// more for each header. The number of headers is bounded at 100, which is hyper's own bound
    /// in HTTP/1.1 and the only one that costs no allocation.
    pub head_max_bytes: u32,
    /// How long a client may take for a head that it has begun, in milliseconds. Looked at once
    /// per such period, so the cut comes after one to two of them.
    pub head_wait_max_ms: u64,
    /// How long a connection may stay open without a request, in milliseconds. Longer than the
    /// idle time of the usual fronts, so that they close first and no request meets a close.
    pub idle_wait_max_ms: u64,
    /// How long nothing of a request's body may come while the function waits for it and has not
    /// answered, in milliseconds; beyond it the answer is 408. Looked at once per such period, so
    /// it comes after one to two of them. Shorter than half of a function's own time to its first
    /// byte, so that a slow client is not taken for a slow function.
    pub body_stall_max_ms: u64,
    /// How long a client may take nothing of a reply that waits for it, in milliseconds: of a
    /// connection, and of each request of HTTP/2 for itself.
    pub write_stall_max_ms: u64,
    /// How long a client of HTTP/1.1 may go on to send a request that nobody reads any more, in
    /// milliseconds, before the connection is closed: one that was refused is to see why.
    pub linger_max_ms: u64,
    /// How much of such a request is read away, in bytes.
    pub linger_max_bytes: u64,
    /// Requests at once on one connection of HTTP/2.
    pub streams_max: u32,
    /// What a client may send of one request's body on HTTP/2 before the function takes it, in
    /// bytes; the connection's window is four times this.
    pub window_bytes: u32,
    /// Requests that a client may begin and give up on one connection of HTTP/2, beyond those
    /// that it lets end; one more, and the connection is cut (CVE-2023-44487).
    pub abandoned_max: u32,
    /// What a client may send on HTTP/2 while no request begins and no body moves, in bytes: pings,
    /// settings and other frames that cost it nothing. Beyond it the connection is cut.
    pub chatter_max_bytes: u64,
    /// How long requests in flight may go on after shutdown began, in milliseconds.
    pub drain_max_ms: u64,
    /// Requests that run at once, over all functions.
    pub running_max: usize,
    /// Requests that wait, over all functions.
    pub waiting_max: usize,
    /// What the heads of those that wait hold in memory together, in bytes.
    pub waiting_max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls: None,
            domain: Domain::default(),
            bounds: Bounds::default(),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            handshakes_max: 512,
            handshake_wait_max_ms: 10_000,
            head_max_bytes: 64 * 1024,
            head_wait_max_ms: 30_000,
            idle_wait_max_ms: 120_000,
            body_stall_max_ms: 10_000,
            write_stall_max_ms: 60_000,
            linger_max_ms: 5_000,
            linger_max_bytes: 256 * 1024 * 1024,
            streams_max: 128,
            window_bytes: 256 * 1024,
            abandoned_max: 200,
            chatter_max_bytes: 1024 * 1024,
            drain_max_ms: 30_000,
            running_max: 4_096,
            waiting_max: 10_000,
            waiting_max_bytes: 64 * 1024 * 1024,
        }
    }
}

//! What a gateway is told when it starts. Every bound has its unit in its name, and every default
//! works.
//!
//! Deliberately absent: bounds of single functions, which come with their revisions, and reading
//! files or the environment, which the binary does.

use std::net::{Ipv4Addr, SocketAddr};

use usher_core::route::Domain;

/// Where a gateway listens and how much it takes on.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Under which domain functions have host names: `NAME.<domain>`, `NAME.OWNER.<domain>`.
    pub domain: Domain,
    /// Bounds over all functions.
    pub bounds: Bounds,
}

/// Bounds over all functions and connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at once; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// A request's line and headers, in bytes; beyond it the answer is 431. The number of headers
    /// is bounded at 100, which is hyper's own bound and the only one that costs no allocation.
    pub head_max_bytes: usize,
    /// How long a client may take for a head that it has begun, in milliseconds. Looked at once
    /// per such period, so the cut comes after one to two of them.
    pub head_wait_max_ms: u64,
    /// How long a connection may stay open without a request, in milliseconds. Longer than the
    /// idle time of the usual fronts, so that they close first and no request meets a close.
    pub idle_wait_max_ms: u64,
    /// How long a client may take nothing of a reply that waits for it, in milliseconds.
    pub write_stall_max_ms: u64,
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
            domain: Domain::default(),
            bounds: Bounds::default(),
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_max_bytes: 64 * 1024,
            head_wait_max_ms: 30_000,
            idle_wait_max_ms: 120_000,
            write_stall_max_ms: 60_000,
            drain_max_ms: 30_000,
            running_max: 4_096,
            waiting_max: 10_000,
            waiting_max_bytes: 64 * 1024 * 1024,
        }
    }
}

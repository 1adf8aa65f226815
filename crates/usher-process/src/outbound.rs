//! The proxy through which a program reaches what its function's `outbound` list permits.
//!
//! ```text
//!  program, in its network namespace ─127.0.0.1:9002─► Proxy ─┬ CONNECT ──────► tunnel
//!    HTTP_PROXY, HTTPS_PROXY                                  ├ GET http://… ─► one request
//!                                                             └ not listed ───► 403, and the log
//! ```
//!
//! The sandbox has no route out, so that this is the only way there is; a program that does not
//! know proxies reaches nothing. Names are resolved here, since a program has nobody to ask.
//!
//! Deliberately absent: SOCKS, and looking into TLS, which stays between the program and its peer.

mod connection;
mod refusal;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use usher_core::outbound::AllowList;

/// Where the proxy listens in a sandbox, at 127.0.0.1.
pub const PROXY_PORT: u16 = 9_002;

/// How long accepting rests after the system refused a connection.
const ACCEPT_REST_MS: u64 = 100;

/// What one program's proxy may take up.
#[derive(Clone, Copy, Debug)]
pub struct ProxyBounds {
    /// Connections of the program at a time; more wait to be accepted.
    pub connections_max: usize,
    /// How long a head may take to come, in milliseconds; a connection without a request as well.
    pub head_wait_max_ms: u64,
    /// How long resolving and connecting may take, in milliseconds.
    pub connect_max_ms: u64,
    /// How long nothing may move on a connection, in milliseconds.
    pub idle_max_ms: u64,
}

impl Default for ProxyBounds {
    fn default() -> Self {
        Self {
            connections_max: 64,
            head_wait_max_ms: 10_000,
            connect_max_ms: 10_000,
            idle_max_ms: 300_000,
        }
    }
}

/// Takes the sentence that a refused program is told, for its function's log. Must not block.
pub type Refused = Arc<dyn Fn(&str) + Send + Sync>;

/// A proxy that runs. Dropping it ends all connections.
#[derive(Debug)]
pub struct Proxy(AbortHandle);

/// What all connections of a proxy share.
struct Shared {
    allowed: Arc<AllowList>,
    bounds: ProxyBounds,
    refused: Refused,
}

impl Proxy {
    /// Serves a listener. Must be called within a runtime.
    pub fn serve(
        listener: TcpListener,
        allowed: Arc<AllowList>,
        bounds: ProxyBounds,
        refused: Refused,
    ) -> Self {
        let shared = Arc::new(Shared {
            allowed,
            bounds,
            refused,
        });
        Self(tokio::spawn(accept(listener, shared)).abort_handle())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(shared.bounds.connections_max));
    let mut connections = JoinSet::new();
    loop {
        // Never closed, so never an error.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    connection::run(stream, shared).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a program's connection to its proxy was not accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_REST_MS)).await;
            }
        }
    }
}

/// The variables by which programs find the proxy; none where nothing is permitted, so that a
/// program is told at once that there is no network.
///
/// `ALL_PROXY` is left out: it names a proxy for every protocol, and this one speaks HTTP only.
pub fn outbound_environment(allowed: &AllowList) -> Vec<(String, String)> {
    if allowed.is_empty() {
        return Vec::new();
    }
    let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
    let inside = "localhost,127.0.0.1,::1";
    let variables = [
        ("HTTP_PROXY", proxy.as_str()),
        ("http_proxy", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("https_proxy", &proxy),
        ("NO_PROXY", inside),
        ("no_proxy", inside),
        // Node does not look at the others without it.
        ("NODE_USE_ENV_PROXY", "1"),
    ];
    let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    owned.into()
}

//! The HTTP API: bodies as in `usher_api::http`, errors as JSON that says whose fault it is.
//!
//! ```text
//!   accept (bounded) ──► guard (Host, Origin) ──► route ──► handler ──► controller
//! ```
//!
//! Deliberately absent: TLS and keys; until they exist only this machine may ask, and web pages of
//! others may not (`guard`).

mod artifacts;
mod backup;
mod error;
mod functions;
mod guard;
mod openapi;
mod platform;
mod read;
mod routes;
mod serve;
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::controller::Controller;
use guard::Guard;

/// Where the text of `/metrics` comes from.
pub trait MetricsSource: Send + Sync + 'static {
    /// All metrics, in the text format of Prometheus.
    fn text(&self) -> String;
}

impl<F: Fn() -> String + Send + Sync + 'static> MetricsSource for F {
    fn text(&self) -> String {
        self()
    }
}

/// Where the API listens, and its bounds.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Allow an address that other machines can reach, though there are no keys yet.
    pub insecure: bool,
    /// Host names by which the API may be asked, besides `localhost` and loopback addresses.
    pub names: Vec<String>,
    /// Connections at once; further ones wait to be accepted.
    pub connections_max: usize,
    /// How long the head of a request may take, and how long a connection may be idle, in
    /// milliseconds.
    pub head_wait_max_ms: u64,
    /// How long a request's body may pause, in milliseconds.
    pub body_idle_max_ms: u64,
    /// How long a request's whole body may take, in milliseconds.
    pub body_wait_max_ms: u64,
    /// The largest JSON body, in bytes.
    pub json_max_bytes: usize,
    /// How long requests that run may take to end when the API stops, in milliseconds.
    pub drain_max_ms: u64,
}

impl ApiOptions {
    /// The bounds that fit one machine.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            insecure: false,
            names: Vec::new(),
            connections_max: 256,
            head_wait_max_ms: 30_000,
            body_idle_max_ms: 30_000,
            body_wait_max_ms: 3_600_000,
            json_max_bytes: 1 << 20,
            drain_max_ms: 10_000,
        }
    }
}

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Others could deploy code here.
    #[error(
        "the API would listen at {listen}, where other machines can reach it, and it has no keys \
         yet; listen at 127.0.0.1, or pass --insecure-api if the network is yours alone"
    )]
    NotLoopback {
        /// The address.
        listen: SocketAddr,
    },
    /// The address cannot be listened at.
    #[error("the API cannot listen at {listen}; choose another address with --api")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The API, listening and not yet serving.
pub struct Api {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    options: ApiOptions,
    stopping: watch::Sender<bool>,
}

/// What the handlers share.
struct Shared {
    controller: Arc<Controller>,
    ready: watch::Receiver<bool>,
    metrics: Arc<dyn MetricsSource>,
    stopping: watch::Receiver<bool>,
    openapi: String,
    options: ApiOptions,
}

impl Api {
    /// Listens. `ready` says whether all of the platform is up, for `/readyz`.
    pub async fn bind(
        options: ApiOptions,
        controller: Arc<Controller>,
        ready: watch::Receiver<bool>,
        metrics: Arc<dyn MetricsSource>,
    ) -> Result<Self, BindError> {
        let listen = options.listen;
        if !listen.ip().is_loopback() && !options.insecure {
            return Err(BindError::NotLoopback { listen });
        }
        let failed = |source| BindError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stopping, stopped) = watch::channel(false);
        let guard = Guard::new(&options);
        let shared = Arc::new(Shared {
            controller,
            ready,
            metrics,
            stopping: stopped,
            openapi: openapi::document(&routes::all()),
            options: options.clone(),
        });
        Ok(Self {
            listener,
            address,
            router: routes::router(shared, guard),
            options,
            stopping,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is done, then lets requests that run end, for a bounded time.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) {
        serve::serve(self, stop).await;
    }
}

//! The HTTP API: bodies as in `usher_api::http`, errors as JSON that says whose fault it is.
//!
//! ```text
//!   accept (bounded) ──► guard (Host, Origin) ──► account (who?) ──► route ──► gate (may he?)
//!                                                    │ audit log               └─► handler
//!                                                    ▼                             └─► controller
//! ```
//!
//! Deliberately absent: TLS, for which a front stands before it where it is asked over a network.

mod access;
mod artifacts;
mod backup;
mod call;
mod error;
mod functions;
mod gate;
mod guard;
mod logs;
mod observe;
mod openapi;
mod platform;
mod read;
mod routes;
mod secrets;
mod serve;
mod traffic;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use usher_api::top::TopRow;

use crate::audit::{Audit, AuditOptions};
use crate::controller::{Controller, Follower};
use crate::keys::KeyRing;
use guard::Guard;
use usher_backbone::ReadError;
use usher_core::api_key::Secret;

/// Tells how all functions stand, and what came since it was made.
pub type Watch = Box<dyn FnOnce() -> Vec<TopRow> + Send>;

/// Where the figures come from.
pub trait MetricsSource: Send + Sync + 'static {
    /// All metrics, in the text format of Prometheus.
    fn text(&self) -> String;

    /// The same as OpenMetrics; none: only the older format is there.
    fn open_metrics(&self) -> Option<String> {
        None
    }

    /// Begins to look at all functions. `from_now`: with what comes from now on, for rates; else
    /// the shares of times are those since the platform started.
    fn watch(&self, from_now: bool) -> Watch {
        let _from_now = from_now;
        Box::new(Vec::new)
    }
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
    /// A key by which the platform asks itself; it is stored nowhere.
    pub own_key: Option<Secret>,
    /// Who holds callers of functions to keys: a change of a key waits until they know.
    pub key_followers: Vec<Follower>,
    /// Who holds owners to their quotas: a change of them waits until they know.
    pub owner_followers: Vec<Follower>,
    /// The audit log.
    pub audit: AuditOptions,
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
            own_key: None,
            key_followers: Vec::new(),
            owner_followers: Vec::new(),
            audit: AuditOptions::default(),
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
        "the API would listen at {listen}, where other machines can reach it, and nobody would \
         need a key; make one first with `usher key create --scope admin`, or listen at \
         127.0.0.1, or pass --insecure-api if the network is yours alone"
    )]
    NotLoopback {
        /// The address.
        listen: SocketAddr,
    },
    /// Whether there are keys is not known.
    #[error("the keys of the API could not be read")]
    Keys(#[from] ReadError),
    /// There would be no audit log.
    #[error("the audit log cannot be written; look at the folder audit in the data folder")]
    Audit(#[source] io::Error),
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
    keys: KeyRing,
    audit: Arc<Audit>,
    options: ApiOptions,
}

/// Method and path of every route, and how its owner is told, for tests that walk over all of them.
#[cfg(test)]
pub(crate) fn table() -> Vec<(&'static str, &'static str, gate::Of)> {
    let routes = routes::all().into_iter();
    routes
        .map(|route| (route.method, route.path, gate::Of::said_by(&route)))
        .collect()
}

#[cfg(test)]
pub(crate) use gate::Of;

impl Api {
    /// Listens. `ready` says whether all of the platform is up, for `/readyz`.
    pub async fn bind(
        options: ApiOptions,
        controller: Arc<Controller>,
        ready: watch::Receiver<bool>,
        metrics: Arc<dyn MetricsSource>,
    ) -> Result<Self, BindError> {
        let listen = options.listen;
        let keys = KeyRing::new(
            Arc::clone(&controller.core.backbone),
            options.key_followers.clone(),
            options.own_key.as_ref(),
        );
        if !listen.ip().is_loopback() {
            if !options.insecure && !keys.closed().await? {
                return Err(BindError::NotLoopback { listen });
            }
            tracing::warn!(%listen, "the API is asked in clear text: put TLS in front of it, as \
                whoever reads along reads the keys");
        }
        let audit = Audit::open(&options.audit).map_err(BindError::Audit)?;
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
            keys,
            audit,
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

//! The server: take a permit, accept, handle, drain; in this order, and backwards at the end.
//!
//! ```text
//!   bind ─► accepting ─shutdown─► draining ─┬ all gone ────────► ended
//!                                           └ drain_max_ms ────► cut the rest, ended
//! ```
//!
//! [`Gateway::serve`] runs on whatever runtime calls it and spawns nothing but connections, so one
//! gateway per thread on a listener of its own is a matter of who calls it.
//!
//! Deliberately absent: signals of the operating system, which the binary turns into `shutdown`.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use usher_api::invoke::Invoker;
use usher_api::trace::TraceSink;
use usher_core::admit::Overall;
use usher_core::route::Domain;

use crate::config::{Bounds, Config};
use crate::connection;
use crate::door::Door;
use crate::gauge::Gauge;
use crate::meter::Meter;
use crate::table::RouteTable;
use crate::trace::Traces;

/// How long accepting rests after the system refused a connection, such as for want of files.
const ACCEPT_REST_MS: u64 = 100;

/// A gateway that has its address and does not serve yet.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// Why a gateway cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}; is another program using it?")]
pub struct BindError {
    /// Where it was to listen.
    pub listen: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were open when `drain_max_ms` had passed, and were cut.
    pub cut: usize,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) bounds: Bounds,
    pub(crate) domain: Domain,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) invoker: Arc<dyn Invoker>,
    pub(crate) door: Arc<Door>,
    /// Requests that reached no function.
    pub(crate) unrouted: Meter,
    /// Where traces of requests go.
    pub(crate) traces: Traces,
    pub(crate) accepted: AtomicU64,
    pub(crate) open: AtomicUsize,
    /// A permit for each connection.
    places: Arc<Semaphore>,
}

/// Counts a connection for as long as it is open, and gives its permit back by drop.
struct Open {
    gateway: Arc<Shared>,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn count(gateway: Arc<Shared>, permit: OwnedSemaphorePermit) -> Self {
        gateway.open.fetch_add(1, Relaxed);
        Self {
            gateway,
            _permit: permit,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gateway.open.fetch_sub(1, Relaxed);
    }
}

/// A connection and its permit.
struct Arrival {
    permit: OwnedSemaphorePermit,
    socket: TcpStream,
    client: SocketAddr,
}

impl Gateway {
    /// Takes the address; clients may connect from now on and are served once `serve` runs.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn bind(
        config: Config,
        routes: Arc<RouteTable>,
        invoker: Arc<dyn Invoker>,
    ) -> Result<Self, BindError> {
        let listen = config.listen;
        let failed = |source| BindError { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let bounds = config.bounds;
        let shared = Arc::new(Shared {
            bounds,
            domain: config.domain,
            routes,
            invoker,
            door: Door::new(Overall {
                running_max: bounds.running_max,
                waiting_max: bounds.waiting_max,
                waiting_max_bytes: bounds.waiting_max_bytes,
            }),
            unrouted: Meter::default(),
            traces: Traces::default(),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(bounds.connections_max)),
        });
        Ok(Self {
            listener,
            address,
            shared,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Reads the figures from now on.
    pub fn gauge(&self) -> Gauge {
        Gauge::new(Arc::clone(&self.shared))
    }

    /// Records traces of requests that come from now on, and hands them to `sink`.
    pub fn record_traces(&self, sink: Arc<dyn TraceSink>) {
        self.shared.traces.go_to(sink);
    }

    /// Serves until `shutdown`, then lets requests in flight finish within `drain_max_ms`.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Drained {
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let arrived = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                arrived = self.shared.arrive(&self.listener) => arrived,
            };
            self.shared.handle(arrived, &stopped, &mut connections);
        }
        // Whoever is in the backlog has connected, and may have sent a request.
        while let Some(arrived) = self.shared.arrive(&self.listener).now_or_never() {
            self.shared.handle(arrived, &stopped, &mut connections);
        }
        drop(self.listener);
        stop.send_replace(true);
        drain(connections, self.shared.bounds.drain_max_ms).await
    }
}

/// Waits for the connections, and cuts those that take too long.
async fn drain(mut connections: JoinSet<()>, drain_max_ms: u64) -> Drained {
    let all_gone = async { while connections.join_next().await.is_some() {} };
    let in_time = tokio::time::timeout(Duration::from_millis(drain_max_ms), all_gone).await;
    let cut = connections.len();
    if in_time.is_err() {
        tracing::warn!(
            cut,
            drain_max_ms,
            "connections were cut at the end of the drain"
        );
    }
    connections.shutdown().await;
    Drained { cut }
}

impl Shared {
    /// The next connection and its permit. None: the system refused one, and time has passed.
    async fn arrive(&self, listener: &TcpListener) -> Option<Arrival> {
        // Never closed, so never an error.
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((socket, client)) => {
                self.accepted.fetch_add(1, Relaxed);
                // Only fails where the client has gone already, which its first read will tell.
                let _ = socket.set_nodelay(true);
                Some(Arrival {
                    permit,
                    socket,
                    client,
                })
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_REST_MS)).await;
                None
            }
        }
    }

    fn handle(
        self: &Arc<Self>,
        arrived: Option<Arrival>,
        stopped: &watch::Receiver<bool>,
        connections: &mut JoinSet<()>,
    ) {
        let Some(arrived) = arrived else { return };
        let (socket, client) = (arrived.socket, arrived.client);
        let open = Open::count(Arc::clone(self), arrived.permit);
        let handled = connection::run(socket, client, Arc::clone(self), stopped.clone());
        connections.spawn(async move {
            handled.await;
            drop(open);
        });
    }
}

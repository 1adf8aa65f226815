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
//! It may listen at two addresses, one in clear text and one for TLS; a handshake is the business of
//! its connection's task, so that a slow one holds nobody up.
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
use tokio_rustls::TlsAcceptor;
use usher_api::invoke::Invoker;
use usher_core::admit::Overall;
use usher_core::route::Domain;

use crate::config::{Bounds, Config};
use crate::connection;
use crate::door::Door;
use crate::meter::{FunctionFigures, GatewayFigures, Meter};
use crate::table::RouteTable;
use crate::tls::Challenges;

/// How long accepting rests after the system refused a connection, such as for want of files.
const ACCEPT_REST_MS: u64 = 100;

/// A gateway that has its address and does not serve yet.
pub struct Gateway {
    clear: Listener,
    secure: Option<Listener>,
    shared: Arc<Shared>,
}

/// One address, whose connections are encrypted where there is an acceptor.
struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
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

/// Reads a gateway's figures while it serves.
#[derive(Clone)]
pub struct Gauge(Arc<Shared>);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) bounds: Bounds,
    pub(crate) domain: Domain,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) invoker: Arc<dyn Invoker>,
    pub(crate) door: Arc<Door>,
    /// Requests that reached no function, and those that the gateway answered for one.
    pub(crate) unrouted: Meter,
    /// What a certificate authority may ask for.
    pub(crate) challenges: Arc<Challenges>,
    /// A permit for each TLS handshake.
    pub(crate) handshakes: Semaphore,
    accepted: AtomicU64,
    open: AtomicUsize,
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
    acceptor: Option<TlsAcceptor>,
}

impl Listener {
    async fn bind(listen: SocketAddr, acceptor: Option<TlsAcceptor>) -> Result<Self, BindError> {
        let failed = |source| BindError { listen, source };
        let socket = TcpListener::bind(listen).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self {
            socket,
            address,
            acceptor,
        })
    }
}

impl Gateway {
    /// Takes the addresses; clients may connect from now on and are served once `serve` runs.
    ///
    /// # Errors
    /// If an address cannot be had.
    pub async fn bind(
        config: Config,
        routes: Arc<RouteTable>,
        invoker: Arc<dyn Invoker>,
    ) -> Result<Self, BindError> {
        let clear = Listener::bind(config.listen, None).await?;
        let (secure, challenges) = match config.tls {
            None => (None, Arc::default()),
            Some(tls) => {
                let acceptor = Some(tls.certificates.acceptor());
                let listener = Listener::bind(tls.listen, acceptor).await?;
                (Some(listener), tls.certificates.challenges())
            }
        };
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
            challenges,
            handshakes: Semaphore::new(bounds.handshakes_max),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            places: Arc::new(Semaphore::new(bounds.connections_max)),
        });
        Ok(Self {
            clear,
            secure,
            shared,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.clear.address
    }

    /// Where it listens for TLS, if it does.
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.secure.as_ref().map(|listener| listener.address)
    }

    /// Reads the figures from now on.
    pub fn gauge(&self) -> Gauge {
        Gauge(Arc::clone(&self.shared))
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
                arrived = self.arrive() => arrived,
            };
            self.shared.handle(arrived, &stopped, &mut connections);
        }
        // Whoever is in the backlog has connected, and may have sent a request.
        while let Some(arrived) = self.arrive().now_or_never() {
            self.shared.handle(arrived, &stopped, &mut connections);
        }
        drop((self.clear, self.secure));
        stop.send_replace(true);
        drain(connections, self.shared.bounds.drain_max_ms).await
    }

    /// The next connection at either address and its permit. None: the system refused one, and
    /// time has passed.
    async fn arrive(&self) -> Option<Arrival> {
        // Never closed, so never an error.
        let permit = Arc::clone(&self.shared.places).acquire_owned().await.ok()?;
        let (listener, accepted) = match &self.secure {
            None => (&self.clear, self.clear.socket.accept().await),
            Some(secure) => tokio::select! {
                accepted = self.clear.socket.accept() => (&self.clear, accepted),
                accepted = secure.socket.accept() => (secure, accepted),
            },
        };
        self.shared.accepted(listener, accepted, permit).await
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
    async fn accepted(
        &self,
        listener: &Listener,
        accepted: io::Result<(TcpStream, SocketAddr)>,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arrival> {
        match accepted {
            Ok((socket, client)) => {
                self.accepted.fetch_add(1, Relaxed);
                // Only fails where the client has gone already, which its first read will tell.
                let _ = socket.set_nodelay(true);
                Some(Arrival {
                    permit,
                    socket,
                    client,
                    acceptor: listener.acceptor.clone(),
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
        let (socket, client, acceptor) = (arrived.socket, arrived.client, arrived.acceptor);
        let open = Open::count(Arc::clone(self), arrived.permit);
        let (gateway, stop) = (Arc::clone(self), stopped.clone());
        let handled = connection::run(socket, client, acceptor, gateway, stop);
        connections.spawn(async move {
            handled.await;
            drop(open);
        });
    }
}

impl Gauge {
    /// The figures as they stand.
    pub fn snapshot(&self) -> GatewayFigures {
        let shared = &self.0;
        let functions = shared.routes.entries().into_iter().map(|entry| {
            let load = shared.door.load_of(entry.slot);
            FunctionFigures {
                function: entry.revision.function.clone(),
                revision: entry.revision.number,
                outcomes: entry.meter.outcomes(),
                served: entry.meter.served(),
                running: load.running,
                waiting: load.waiting,
                head_latency: entry.meter.latency(),
            }
        });
        let load = shared.door.load();
        GatewayFigures {
            functions: functions.collect(),
            unrouted: shared.unrouted.outcomes(),
            connections: shared.open.load(Relaxed),
            accepted: shared.accepted.load(Relaxed),
            running: load.running,
            waiting: load.waiting,
        }
    }
}

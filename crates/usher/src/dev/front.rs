//! The address at which `usher dev` answers: it holds a request until what it shall meet is there.
//!
//! ```text
//!  request ─┬ /__usher/dev/… ─► live
//!           └ gate ─┬ serve ───► forward, to the gateway
//!                   ├ failed ──► page
//!                   └ building ► page
//! ```
//!
//! Deliberately absent: TLS, HTTP/2 and limits of a public address: it is for its author.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use usher_api::body::Body;

use super::forward::Forward;
use super::stage::{Gate, Passed};
use super::{live, page};

/// How many connections it has at a time; further ones wait in the kernel.
const CONNECTIONS_MAX: usize = 1_024;
/// How long it rests where the system has no descriptor for a connection, in milliseconds.
const ACCEPT_REST_MS: u64 = 50;

/// The address, taken.
pub(crate) struct Front {
    listener: TcpListener,
}

/// What all requests share.
struct Shared {
    gate: Gate,
    forward: Forward,
    started_us: u64,
    /// Whether pages of the function get the script.
    live_reload: bool,
}

impl Front {
    /// Takes the address; whoever connects waits until [`Self::serve`] runs.
    pub(crate) async fn bind(listen: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("{listen} was not had; is it in use? --listen names another, and port 0 any")
        })?;
        Ok(Self { listener })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves what is at `gateway`. Never ends; dropping the future cuts its connections.
    pub(crate) async fn serve(self, gateway: SocketAddr, gate: Gate, live_reload: bool) {
        let started = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = started.unwrap_or_default().as_micros();
        let shared = Arc::new(Shared {
            gate,
            forward: Forward::new(gateway),
            started_us: u64::try_from(started).unwrap_or(u64::MAX),
            live_reload,
        });
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            // Never closed, so never an error.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            while connections.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((socket, _)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        connection(socket, shared).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(ACCEPT_REST_MS)).await;
                }
            }
        }
    }
}

async fn connection(socket: TcpStream, shared: Arc<Shared>) {
    // Only fails where the client has gone already, which its first read will tell.
    let _ = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, std::convert::Infallible>(shared.answer(request).await) }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended early");
    }
}

impl Shared {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            live::EVENTS_PATH => return live::events(self.gate.stage(), self.started_us),
            live::SCRIPT_PATH => return live::script_answer(),
            _ => {}
        }
        let (passed, number) = self.gate.pass().await;
        let seen = live::seen(self.started_us, number);
        match passed {
            Passed::Failed(report) => page::failed(&report, request.headers(), &seen),
            Passed::Building => page::building(request.headers(), &seen),
            Passed::Serve if self.live_reload => {
                live::ask_plain(request.headers_mut());
                let method = request.method().clone();
                live::inject(&method, self.forward.send(request).await, &seen)
            }
            Passed::Serve => self.forward.send(request).await,
        }
    }
}

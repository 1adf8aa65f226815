//! Accepting connections and serving them, and the end of that.
//!
//! ```text
//!   permit ──► accept ──► serve … ──► done: the permit goes back
//!   stop ──► no more accepts ──► each connection ends after its request ──► (too late: cut)
//! ```
//!
//! Deliberately absent: what is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::call::Client;
use super::{Api, ApiOptions};

/// How long to wait after accepting failed (no descriptors left, most likely), in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

pub(super) async fn serve(api: Api, stop: impl Future<Output = ()> + Send) {
    let mut connections = JoinSet::new();
    tokio::select! {
        () = stop => {}
        () = accept(&api, &mut connections) => {}
    }
    let Api {
        listener,
        options,
        stopping,
        ..
    } = api;
    drop(listener);
    stopping.send_replace(true);
    let drain = Duration::from_millis(options.drain_max_ms);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::warn!(
            cut = connections.len(),
            "the API stopped with requests still running"
        );
        connections.shutdown().await;
    }
}

async fn accept(api: &Api, connections: &mut JoinSet<()>) {
    let permits = Arc::new(Semaphore::new(api.options.connections_max));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match api.listener.accept().await {
            Ok((stream, client)) => {
                let router = api.router.clone();
                let stopping = api.stopping.subscribe();
                let options = &api.options;
                connections.spawn(connection(
                    (stream, client),
                    router,
                    options,
                    stopping,
                    permit,
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "the API could not accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

fn connection(
    (stream, client): (TcpStream, SocketAddr),
    router: Router,
    options: &ApiOptions,
    mut stopping: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send + 'static {
    let head_wait = Duration::from_millis(options.head_wait_max_ms);
    async move {
        let _permit = permit;
        // Only latency is lost where this fails.
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(router);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Client(client));
            router.call(request)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(head_wait)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(served);
        let stop = async {
            // An error says that the API is gone, which is the same.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = stop => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to the API ended early");
        }
    }
}

//! HTTP/1.1: one request after the other, all of them in the task of their connection.
//!
//! Deliberately absent: timers (`connection`), and what is refused of a head (`strict`, `head`).

use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::Bytes;
use hyper::server::conn::http1::{self, UpgradeableConnection};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use crate::answer::answer;
use crate::connection::{Connection, drive};
use crate::hello::Speaks;
use crate::wire::Wire;

/// Serves a connection's requests, until it ends or is lent. `first` was read of it already.
pub(crate) async fn serve<S>(
    socket: S,
    first: Bytes,
    connection: &Arc<Connection>,
    stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let bounds = connection.gateway.bounds;
    let wire = Wire::of_heads(socket, first, Arc::clone(connection));
    let serving = Arc::clone(connection);
    let service = service_fn(move |request| answer(Arc::clone(&serving), request));
    let mut http = http1::Builder::new();
    http.max_header_size(usize::try_from(bounds.head_max_bytes).unwrap_or(usize::MAX));
    let http = pin!(
        http.serve_connection(TokioIo::new(wire), service)
            .with_upgrades()
    );
    let finish = |http: Pin<&mut _>| UpgradeableConnection::graceful_shutdown(http);
    drive(http, finish, Speaks::Http1, connection, stop).await;
}

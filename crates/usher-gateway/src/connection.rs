//! One connection: its requests, one after the other, its timers, and its end.
//!
//! ```text
//!   serving ─┬ client closes, error ─────────────────► gone
//!            ├ pace says cut ────────────────────────► gone
//!            ├ stop ─► finishing (last reply) ───────► gone
//!            └ 101 ─► lent to a function, see `loan` ─► gone
//! ```
//!
//! Deliberately absent: the requests themselves (`answer`) and the bound on the whole drain
//! (`server`), which drops this task.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answer::answer;
use crate::loan::Loan;
use crate::pace::{Pace, Pulse, Verdict};
use crate::server::Shared;
use crate::wire::Wire;

/// What the requests of one connection share.
pub(crate) struct Connection {
    pub(crate) gateway: Arc<Shared>,
    /// The client's address.
    pub(crate) forwarded_for: HeaderValue,
    pub(crate) pulse: Pulse,
    /// Set where a function was lent the connection.
    pub(crate) loan: Mutex<Option<Loan>>,
}

/// Says by a connection's pulse that a request is in flight, from its head to the end of its reply.
pub(crate) struct Beat(Arc<Connection>);

impl Beat {
    pub(crate) fn begin(connection: Arc<Connection>) -> Self {
        connection.pulse.begin();
        Self(connection)
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.0.pulse.end();
    }
}

/// Serves a connection to its end. Once `stop` changes, what is in flight is finished.
pub(crate) async fn run(
    socket: TcpStream,
    client: SocketAddr,
    gateway: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let Ok(forwarded_for) = HeaderValue::from_str(&client.ip().to_canonical().to_string()) else {
        return;
    };
    let connection = Arc::new(Connection {
        gateway,
        forwarded_for,
        pulse: Pulse::default(),
        loan: Mutex::default(),
    });
    serve(socket, client, &connection, stop).await;
    let loan = connection.loan.lock().take();
    if let Some(loan) = loan {
        loan.returned().await;
    }
}

/// Serves its requests, until it ends or is lent.
async fn serve(
    socket: TcpStream,
    client: SocketAddr,
    connection: &Arc<Connection>,
    stop: watch::Receiver<bool>,
) {
    let bounds = connection.gateway.bounds;
    let stall_max = Duration::from_millis(bounds.write_stall_max_ms);
    let wire = Wire::new(socket, Arc::clone(connection), stall_max);
    let serving = Arc::clone(connection);
    let service = service_fn(move |request| answer(Arc::clone(&serving), request));
    let mut http = http1::Builder::new();
    http.max_header_size(bounds.head_max_bytes);
    let mut http = pin!(
        http.serve_connection(TokioIo::new(wire), service)
            .with_upgrades()
    );

    let period = Duration::from_millis(bounds.head_wait_max_ms);
    let mut pace = Pace::new(bounds.head_wait_max_ms, bounds.idle_wait_max_ms);
    let mut tick = pin!(tokio::time::sleep(period));
    let mut stopping = false;
    let mut stopped_watch = stop.clone();
    let mut stopped = pin!(async move {
        // A sender that is gone means the same: nobody serves any more.
        let _ = stopped_watch.changed().await;
    });
    let mut registered = false;
    poll_fn(|cx| {
        // The timer and the stop are asked once, so that they know whom to wake; after that only
        // when they have something to say. Requests pass them by with two atomic loads.
        if !stopping
            && (!registered || stop.has_changed().unwrap_or(true))
            && stopped.as_mut().poll(cx).is_ready()
        {
            stopping = true;
            // A request that has arrived is still read: only then is an idle connection idle.
            if http.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            http.as_mut().graceful_shutdown();
        }
        if !registered || tick.is_elapsed() {
            while tick.as_mut().poll(cx).is_ready() {
                if pace.tick(&connection.pulse) == Verdict::Cut {
                    return Poll::Ready(());
                }
                tick.as_mut().reset(Instant::now() + period);
            }
        }
        registered = true;
        http.as_mut().poll(cx).map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, %client, "a connection ended early");
            }
        })
    })
    .await;
}

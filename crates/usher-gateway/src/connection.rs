//! One connection: what it speaks, its timers, and its end.
//!
//! ```text
//!   hello ─► serving ─┬ client closes, error ─────────────────► gone
//!                     ├ pace says cut ────────────────────────► gone
//!                     ├ stop, or pace says part ─► finishing ─► gone
//!                     └ 101 ─► lent to a function, see `loan` ─► gone
//! ```
//!
//! Deliberately absent: the requests themselves (`answer`), what the two versions of HTTP do
//! differently (`http1`, `http2`), and the bound on the whole drain (`server`), which drops this
//! task.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::hello::{self, Speaks};
use crate::loan::Loan;
use crate::pace::{Pace, Pulse, Verdict};
use crate::server::Shared;
use crate::turns::Turns;
use crate::{http1, http2};

/// What the requests of one connection share.
pub(crate) struct Connection {
    pub(crate) gateway: Arc<Shared>,
    /// The client's address.
    pub(crate) forwarded_for: HeaderValue,
    /// Whether it is encrypted.
    pub(crate) secure: bool,
    pub(crate) pulse: Pulse,
    /// Those of HTTP/2.
    pub(crate) turns: Turns,
    /// Set where a function was lent the connection.
    pub(crate) loan: Mutex<Option<Loan>>,
}

/// Says by a connection's pulse that a request is in flight, from its head to the end of its reply.
pub(crate) struct Beat {
    connection: Arc<Connection>,
    /// Whether it counts that its client gives it up: where requests share a connection.
    counted: bool,
    complete: AtomicBool,
}

impl Beat {
    pub(crate) fn begin(connection: Arc<Connection>, version: http::Version) -> Self {
        connection.pulse.begin();
        Self {
            connection,
            counted: version == http::Version::HTTP_2,
            complete: AtomicBool::new(false),
        }
    }

    /// The reply is complete, or broke off for no reason of the client's.
    pub(crate) fn complete(&self) {
        self.complete.store(true, Relaxed);
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        let pulse = &self.connection.pulse;
        if self.counted {
            pulse.settle(!self.complete.load(Relaxed));
        }
        pulse.end();
    }
}

/// Serves a connection to its end, which is encrypted where there is an acceptor. Once `stop`
/// changes, what is in flight is finished.
pub(crate) async fn run(
    mut socket: TcpStream,
    client: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    gateway: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let Ok(forwarded_for) = HeaderValue::from_str(&client.ip().to_canonical().to_string()) else {
        return;
    };
    let connection = Arc::new(Connection {
        gateway,
        forwarded_for,
        secure: acceptor.is_some(),
        pulse: Pulse::default(),
        turns: Turns::default(),
        loan: Mutex::default(),
    });
    let gateway = &connection.gateway;
    // Everything but the common way is boxed, so that idle connections stay small.
    match acceptor {
        None => match hello::clear(&mut socket, gateway, stop.clone()).await {
            None => return,
            Some((Speaks::Http1, first)) => http1::serve(socket, first, &connection, stop).await,
            Some((Speaks::Http2, first)) => {
                Box::pin(http2::serve(socket, first, &connection, stop)).await;
            }
        },
        Some(acceptor) => {
            let shaken = Box::pin(hello::secure(socket, &acceptor, gateway, stop.clone()));
            match shaken.await {
                None => return,
                Some((Speaks::Http1, socket)) => {
                    Box::pin(http1::serve(socket, Default::default(), &connection, stop)).await;
                }
                Some((Speaks::Http2, socket)) => {
                    Box::pin(http2::serve(socket, Default::default(), &connection, stop)).await;
                }
            }
        }
    }
    let loan = connection.loan.lock().take();
    if let Some(loan) = loan {
        loan.returned().await;
    }
}

/// Serves a connection's requests, until it ends or is lent.
/// `finish` has no further request begin, and the connection end with the last reply.
pub(crate) async fn drive<C>(
    mut http: Pin<&mut C>,
    finish: impl Fn(Pin<&mut C>),
    speaks: Speaks,
    connection: &Connection,
    stop: watch::Receiver<bool>,
) where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let bounds = connection.gateway.bounds;
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
            if turn(http.as_mut(), speaks, connection, cx).is_ready() {
                return Poll::Ready(());
            }
            finish(http.as_mut());
        }
        if !registered || tick.is_elapsed() {
            while tick.as_mut().poll(cx).is_ready() {
                match pace.tick(&connection.pulse) {
                    Verdict::Stay => {}
                    // Only HTTP/2 has words for it.
                    Verdict::Part if speaks == Speaks::Http2 => finish(http.as_mut()),
                    Verdict::Part | Verdict::Cut => return Poll::Ready(()),
                }
                tick.as_mut().reset(Instant::now() + period);
            }
        }
        registered = true;
        turn(http.as_mut(), speaks, connection, cx)
    })
    .await;
}

/// Serves as far as that goes now. Ready: the connection has ended, or is to be cut.
fn turn(
    http: Pin<&mut impl Future<Output = Result<(), hyper::Error>>>,
    speaks: Speaks,
    connection: &Connection,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if speaks == Speaks::Http1 {
        return http.poll(cx).map(|ended| tell(ended, connection));
    }
    connection.turns.begin(cx);
    let served = http.poll(cx).map(|ended| tell(ended, connection));
    connection.turns.end();
    let abandoned_max = connection.gateway.bounds.abandoned_max;
    if connection.pulse.abandoned() > abandoned_max {
        let client = &connection.forwarded_for;
        tracing::debug!(
            ?client,
            abandoned_max,
            "a connection was cut that begins requests only to give them up"
        );
        return Poll::Ready(());
    }
    served
}

fn tell(ended: Result<(), hyper::Error>, connection: &Connection) {
    if let Err(error) = ended {
        let client = &connection.forwarded_for;
        tracing::debug!(%error, ?client, "a connection ended early");
    }
}

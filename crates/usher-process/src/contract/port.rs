//! The `$PORT` contract: a client that hands requests to a program which listens for HTTP/1.1.
//!
//! ```text
//!  request ─► head ─► link: kept one, if that is safe, else a new one ─► the reply's head
//!                       ▲                                                     │
//!                       └── kept, if the program said nothing against it ◄── rest: the body, or a
//!                                                                            tunnel after a 101
//! ```
//!
//! A connection is used again only for requests that may be sent twice (RFC 9110, 9.2.2) and whose
//! body is at hand, since a program may close a kept connection at the very moment at which a
//! request is written to it. Such a request is then sent once more, on a new connection. One that
//! went out on a new connection is not: nobody closes that for having rested, so that the request
//! itself may be what ended the program, and a fresh one is not to die of it too.
//!
//! Deliberately absent: time limits and the program's exit, which whoever calls watches; HTTP/2.

mod answer;
mod environment;
mod error;
pub(crate) mod head;
pub(crate) mod link;
mod reuse;
mod wire;

pub use environment::{About, RESERVED, port_environment};
pub use error::CallError;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use usher_api::body::Body;
use usher_api::invoke::BoxFuture;
use usher_api::upgrade::Upgrade;

use self::answer::Call;
use self::head::Outgoing;
use self::link::{Link, Lost};
use self::reuse::Kept;
use super::Answered;

/// How long a tunnel may stand still where the caller sets nothing, in milliseconds.
pub const TUNNEL_IDLE_MAX_MS: u64 = 300_000;

/// The first pause before connecting again to a program that does not listen yet, in milliseconds.
/// Nothing tells when a program begins to listen, so that it has to be tried.
const READY_PAUSE_FIRST_MS: u64 = 1;
/// Each pause is half as long again as the one before, up to this, in milliseconds.
const READY_PAUSE_MAX_MS: u64 = 20;

/// Reaches a program.
pub trait Connect: Send + Sync + 'static {
    /// Connects to a port of the program: at 127.0.0.1, and where nobody listens there, at `::1`,
    /// which is where a program listens that binds to `localhost` by its first address.
    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>>;
}

/// Calls one program, one request at a time.
pub struct PortClient {
    connect: Arc<dyn Connect>,
    port: u16,
    tunnel_idle_max: Duration,
    kept: Kept,
}

/// Why a program is not ready.
#[derive(Debug, thiserror::Error)]
#[error("the program cannot be reached at port {port}")]
pub struct NotReady {
    /// Where it was to listen.
    pub port: u16,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl PortClient {
    /// For the program that listens, or will listen, at this port.
    pub fn new(connect: Arc<dyn Connect>, port: u16) -> Self {
        Self {
            connect,
            port,
            tunnel_idle_max: Duration::from_millis(TUNNEL_IDLE_MAX_MS),
            kept: Kept::default(),
        }
    }

    /// Ends the rest of an upgraded call once no byte has moved either way for so long.
    pub fn tunnel_idle_max(mut self, idle_max: Duration) -> Self {
        self.tunnel_idle_max = idle_max;
        self
    }

    /// Keeps no connection from one call to the next: for a program that is put back in between,
    /// and does not know of it then.
    pub fn never_reuse(self) -> Self {
        self.kept.distrust();
        self
    }

    /// Waits until the program takes connections. Whoever calls bounds the time, and watches for
    /// the program's exit.
    ///
    /// # Errors
    /// If connecting fails for another reason than that nobody listens yet.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let mut pause = Duration::from_millis(READY_PAUSE_FIRST_MS);
        loop {
            match self.connect.connect(self.port).await {
                // Closed at once: a program that serves one connection at a time is not held up.
                Ok(_) => return Ok(()),
                Err(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
                    tokio::time::sleep(pause).await;
                    let longer = pause + pause / 2;
                    pause = longer.min(Duration::from_millis(READY_PAUSE_MAX_MS));
                }
                Err(source) => {
                    return Err(NotReady {
                        port: self.port,
                        source,
                    });
                }
            }
        }
    }

    /// Hands a request to the program and answers as soon as the reply's head is there. The request
    /// carries an absolute URI and what the gateway says about forwarding; an offer to change the
    /// protocol among its extensions is taken.
    ///
    /// Dropping the future closes the connection to the program.
    ///
    /// # Errors
    /// If the program cannot be reached, or gives no answer that can be passed on.
    pub async fn call(
        &mut self,
        mut request: http::Request<Body>,
    ) -> Result<Answered<CallError>, CallError> {
        let granted = Upgrade::take(&mut request);
        let outgoing = Outgoing::of(request, granted.is_some())?;
        let call = Call {
            asked: outgoing.upgrade.clone(),
            granted,
            kept: self.kept.clone(),
            tunnel_idle_max: self.tunnel_idle_max,
        };
        let mut first = None;
        let mut next = outgoing;
        if let Some(again) = next.copy()
            && let Some(link) = self.kept.take().await
        {
            match link.send(next.into_request()).await {
                Ok(begun) => return call.answer(begun).await,
                Err(Lost { error, unanswered }) if unanswered => {
                    self.kept.distrust();
                    first = Some(error);
                }
                Err(lost) => return Err(lost.error),
            }
            next = again;
        }
        let stream = match self.connect.connect(self.port).await {
            Ok(stream) => stream,
            Err(source) => {
                let port = self.port;
                // Where the program went away in between, the first failure tells more.
                return Err(first.unwrap_or(CallError::Connect { port, source }));
            }
        };
        let link = Link::open(stream).await?;
        match link.send(next.into_request()).await {
            Ok(begun) => call.answer(begun).await,
            Err(lost) => Err(lost.error),
        }
    }
}

//! A connection that is lent to a function after a change of protocol, such as to WebSocket.
//!
//! ```text
//!  Offer ─┬ nobody takes it, or the reply is no 101 ─► dropped
//!         └ 101 ─► lend: permit and pulse are held ─► Lent (the function's) ─► dropped: returned
//!                    Loan (the connection's) ─► dropped, as at the end of a drain: Lent is cut
//! ```
//!
//! The HTTP library would hand the connection over after any reply that closes it. So the offer
//! keeps the claim to it, and passes it on with a 101 only.
//!
//! What is lent counts as a request under way until the function lets go of it. Deliberately
//! absent: what the bytes mean, and a bound on idle time, which is the engine's.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use usher_api::body::Body;
use usher_api::upgrade::{Duplex, NotUpgraded, Upgrade};

use crate::connection::{Beat, Connection};
use crate::head;
use crate::tally::Tally;

/// A client's request to change the protocol, offered to the function.
pub(crate) struct Offer {
    protocols: HeaderValue,
    upgrade: Upgrade,
    claim: OnUpgrade,
    grant: oneshot::Sender<Grant>,
}

/// A claim to the connection, and what is occupied while it is lent.
struct Grant {
    claim: OnUpgrade,
    held: Held,
}

/// The connection's side of what was lent. Dropping it cuts what was lent.
pub(crate) struct Loan {
    _cut: oneshot::Sender<()>,
    returned: oneshot::Receiver<()>,
}

/// What the request occupies until the connection is returned.
struct Held {
    cut: oneshot::Receiver<()>,
    _tally: Tally,
    _beat: Beat,
    _returned: oneshot::Sender<()>,
}

/// The connection as a function has it.
struct Lent {
    socket: TokioIo<Upgraded>,
    held: Held,
    cut: bool,
}

impl Offer {
    /// The offer that a request makes. None: it is an ordinary request. One with a body is: where
    /// the body ends and the other protocol begins is nothing to be unsure about.
    pub(crate) fn of(request: &mut Request<Incoming>) -> Option<Self> {
        // Taken out of every request, so that nobody else can claim the connection.
        let claim = hyper::upgrade::on(&mut *request);
        if !request.body().is_end_stream() {
            return None;
        }
        let protocols = head::asked_upgrade(request.version(), request.headers())?;
        let (grant, granted) = oneshot::channel::<Grant>();
        let granted = async move {
            let Grant { claim, held } = granted.await.map_err(|_| NotUpgraded)?;
            let socket = claim.await.map_err(|_| NotUpgraded)?;
            let lent = Lent {
                socket: TokioIo::new(socket),
                held,
                cut: false,
            };
            Ok(Box::new(lent) as Box<dyn Duplex>)
        };
        Some(Self {
            protocols,
            upgrade: Upgrade::new(Box::pin(granted)),
            claim,
            grant,
        })
    }

    /// What travels with the request.
    pub(crate) fn upgrade(&self) -> Upgrade {
        self.upgrade.clone()
    }

    /// The protocols that the client would change to.
    pub(crate) fn protocols(&self) -> &HeaderValue {
        &self.protocols
    }

    /// Whether the function has taken the offer and changes the protocol.
    pub(crate) fn is_accepted(&self, reply: &Response<Body>) -> bool {
        reply.status() == StatusCode::SWITCHING_PROTOCOLS && self.upgrade.is_taken()
    }

    /// Lends the connection as soon as the 101 is written; the request is under way until then.
    pub(crate) fn lend(self, connection: &Connection, mut tally: Tally, beat: Beat) {
        let (cut_sender, cut) = oneshot::channel();
        let (returned_sender, returned) = oneshot::channel();
        tally.complete(StatusCode::SWITCHING_PROTOCOLS);
        let held = Held {
            cut,
            _tally: tally,
            _beat: beat,
            _returned: returned_sender,
        };
        let claim = self.claim;
        // Where nobody awaits it any more, all of it is let go here.
        let _ = self.grant.send(Grant { claim, held });
        *connection.loan.lock() = Some(Loan {
            _cut: cut_sender,
            returned,
        });
    }
}

impl Loan {
    /// Waits until the function has let go of the connection.
    pub(crate) async fn returned(mut self) {
        // Nothing is ever sent: the sender's end is what is waited for.
        let _ = (&mut self.returned).await;
    }
}

impl Lent {
    /// Whether the connection was cut; whoever asks is woken when it is.
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut = self.cut || Pin::new(&mut self.held.cut).poll(cx).is_ready();
        self.cut
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

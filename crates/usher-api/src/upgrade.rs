//! A change of protocol on the caller's connection, such as to WebSocket (RFC 9110, 7.8).
//!
//! ```text
//!  gateway: offered ─► travels in the request's extensions ─┬ taken: the program answers 101 ─► IO
//!                                                           └ nobody takes it: an ordinary request
//! ```
//!
//! The gateway offers it with `connection: upgrade` and `upgrade:` in the request's head. Whoever
//! cannot change protocols calls [`Upgrade::withdraw`] and has an ordinary request. Whoever can
//! takes it, answers 101, and may then await the connection.
//!
//! Deliberately absent: the bytes that follow, which are of neither HTTP nor ours.

use std::sync::Arc;

use http::HeaderValue;
use http::header::{CONNECTION, UPGRADE};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Body;
use crate::invoke::BoxFuture;

/// A connection that bytes go both ways on.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The caller's connection, once the 101 has been written to it.
pub type Granted = BoxFuture<'static, Result<Box<dyn Duplex>, NotUpgraded>>;

/// The caller went away before the protocol was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the caller went away before the protocol was changed")]
pub struct NotUpgraded;

/// An offer to change the protocol, among a request's extensions.
#[derive(Clone)]
pub struct Upgrade(Arc<Mutex<Option<Granted>>>);

impl Upgrade {
    /// An offer. `granted` is polled only once a reply with 101 is on its way.
    pub fn new(granted: Granted) -> Self {
        Self(Arc::new(Mutex::new(Some(granted))))
    }

    /// Takes the offer out of a request: the first who asks gets it. None: nothing was offered.
    pub fn take(request: &mut http::Request<Body>) -> Option<Granted> {
        let offer = request.extensions_mut().remove::<Self>()?;
        offer.0.lock().take()
    }

    /// Whether somebody has taken it.
    pub fn is_taken(&self) -> bool {
        self.0.lock().is_none()
    }

    /// Makes an ordinary request of one that carries an offer.
    pub fn withdraw(request: &mut http::Request<Body>) {
        if request.extensions_mut().remove::<Self>().is_some() {
            request.headers_mut().remove(CONNECTION);
            request.headers_mut().remove(UPGRADE);
        }
    }
}

/// Whether a reply's `upgrade` names protocols, and only such as the request's named.
pub fn permits(asked: &HeaderValue, chosen: &HeaderValue) -> bool {
    let mut chosen = protocols(chosen).peekable();
    chosen.peek().is_some()
        && chosen.all(|one| protocols(asked).any(|other| one.eq_ignore_ascii_case(other)))
}

/// The protocols that an `upgrade` header names.
pub fn protocols(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let elements = value.as_bytes().split(|byte| *byte == b',');
    elements
        .map(<[u8]>::trim_ascii)
        .filter(|one| !one.is_empty())
}

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Upgrade").field(&self.is_taken()).finish()
    }
}

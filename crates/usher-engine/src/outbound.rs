//! Connecting to where a function's `outbound` list permits, the same for every engine.
//!
//! ```text
//!  name on the list? ─► resolve ─► each address: permitted? ─► connect to that very address
//! ```
//!
//! The name is judged before anything is looked up, and no second look-up can answer otherwise than
//! the one that was judged. Deliberately absent: time limits, which whoever connects lays around.

use std::io;

use tokio::net::TcpStream;
use usher_core::outbound::{AllowList, Denied, Scheme};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum NotReached {
    /// The list does not permit it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The name could not be resolved.
    #[error("the name could not be resolved")]
    Resolve(#[source] io::Error),
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// None of the addresses that are permitted takes connections; this is what the last one said.
    #[error("the connection failed")]
    Connect(#[source] io::Error),
}

/// Connects to a host, given as a name or an address, in brackets or not.
///
/// # Errors
/// If the list does not permit it, or nobody answers at any address that is permitted.
pub async fn reach(
    allowed: &AllowList,
    scheme: Scheme,
    host: &str,
    port: u16,
) -> Result<TcpStream, NotReached> {
    allowed.names(scheme, host, port)?;
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let addresses = tokio::net::lookup_host((bare, port)).await;
    let addresses = addresses.map_err(NotReached::Resolve)?;
    let mut last = NotReached::NoAddress;
    for address in addresses {
        match allowed.permits(scheme, host, port, address.ip()) {
            Err(denied) => last = denied.into(),
            Ok(()) => match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = NotReached::Connect(error),
            },
        }
    }
    Err(last)
}

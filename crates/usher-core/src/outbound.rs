//! Where a function may go over outbound HTTP: an allow-list, empty by default.
//!
//! ```text
//! request ─names→ is the host listed? ─resolve→ ─permits→ is the address outside, or listed too?
//! ```
//!
//! Two gates. The *name* (or literal address) must be listed for this scheme and port, and that is
//! asked before any name is resolved, so that not even a look-up tells anybody anything. Then the
//! *address* that the name led to must be an ordinary one of the public Internet; loopback,
//! link-local, private and all other special addresses ([`inside`]) need an entry of their own, so
//! that a public name which is made to point inwards leads nowhere.
//!
//! Deliberately absent: resolving. The connection must be made to the very address that was
//! permitted, or a second look-up could answer another one.

pub mod entry;
pub mod inside;

use std::net::IpAddr;

use entry::{BadEntry, Entry, Place, literal, plain_host};

/// Most entries that a function may have.
pub const ENTRIES_MAX: usize = 256;

/// A scheme of outbound requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The port where none is named.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why an outbound request is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No entry names the host with this scheme and port.
    #[error("{host} (port {port}) is not on the function's `outbound` list")]
    NotListed {
        /// The host that was asked for.
        host: String,
        /// And the port.
        port: u16,
    },
    /// The name is listed, and leads to an address that is not.
    #[error(
        "{host} leads to {address}, which is not a public address; \
         it needs an entry of its own on the function's `outbound` list"
    )]
    Inside {
        /// The host that was asked for.
        host: String,
        /// Where it led.
        address: IpAddr,
    },
}

/// Where a function may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    entries: Vec<Entry>,
}

impl AllowList {
    /// Reads a manifest's list.
    ///
    /// # Errors
    /// All entries that cannot be read, not the first only.
    pub fn parse<T: AsRef<str>>(list: &[T]) -> Result<Self, Vec<BadEntry>> {
        let mut entries = Vec::new();
        let mut mistakes = Vec::new();
        for text in list.iter().take(ENTRIES_MAX) {
            match text.as_ref().parse::<Entry>() {
                Ok(entry) => entries.push(entry),
                Err(mistake) => mistakes.push(mistake),
            }
        }
        if let Some(text) = list.get(ENTRIES_MAX) {
            mistakes.push(BadEntry::too_many(text.as_ref()));
        }
        if mistakes.is_empty() {
            Ok(Self { entries })
        } else {
            Err(mistakes)
        }
    }

    /// Whether nothing at all is permitted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The first gate, to be asked before the host is resolved. `host` may be a name or an address,
    /// in brackets or not.
    ///
    /// # Errors
    /// If no entry names it.
    pub fn names(&self, scheme: Scheme, host: &str, port: u16) -> Result<(), Denied> {
        let plain = plain_host(host);
        let listed = match literal(&plain) {
            Some(address) => self.covers(scheme, port, address),
            None => self
                .entries
                .iter()
                .any(|entry| entry.fits(scheme, port) && entry.names(&plain)),
        };
        if listed {
            Ok(())
        } else {
            Err(Denied::NotListed {
                host: shown(host),
                port,
            })
        }
    }

    /// Both gates: the host as above, and the address that it led to.
    ///
    /// # Errors
    /// If no entry names the host, or the address needs an entry and has none.
    pub fn permits(
        &self,
        scheme: Scheme,
        host: &str,
        port: u16,
        resolved: IpAddr,
    ) -> Result<(), Denied> {
        self.names(scheme, host, port)?;
        // A mapped address is reached as IPv4, whatever it is written as.
        let resolved = resolved.to_canonical();
        if !inside::is_inside(resolved) || self.covers(scheme, port, resolved) {
            return Ok(());
        }
        Err(Denied::Inside {
            host: shown(host),
            address: resolved,
        })
    }

    fn covers(&self, scheme: Scheme, port: u16, address: IpAddr) -> bool {
        self.entries.iter().any(|entry| {
            entry.fits(scheme, port)
                && matches!(&entry.place, Place::Network(network) if network.contains(address))
        })
    }
}

/// A guest chooses the host's text: only so much of it goes into a message.
fn shown(host: &str) -> String {
    host.chars()
        .filter(|c| !c.is_control())
        .take(entry::HOST_MAX_BYTES)
        .collect()
}

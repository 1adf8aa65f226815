//! One entry of an allow-list, and its grammar.
//!
//! ```text
//! entry   = [ ("http" | "https") "://" ] place [ ":" port ] [ "/" ]
//! place   = name | "*." name | address | network
//! address = IPv4 | IPv6 | "[" IPv6 "]"        with a port, IPv6 is written in brackets
//! network = address "/" length
//! ```
//!
//! A scheme that is not named is either. A port that is not named is the scheme's own for names,
//! and any for addresses without a scheme. `*.` stands for one label or more. Names are ASCII
//! (`xn--…`).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Scheme;
use super::inside::{same_prefix_v4, same_prefix_v6};

/// Longest host, in bytes.
pub const HOST_MAX_BYTES: usize = 253;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// None: either.
    pub scheme: Option<Scheme>,
    /// None: what the grammar above says.
    pub port: Option<u16>,
    /// Where to.
    pub place: Place,
}

/// Where an entry leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This name; lower case, no closing dot.
    Name(String),
    /// Every name that ends in a dot and this, but not this itself.
    Under(String),
    /// One address or more.
    Network(Network),
}

/// Addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    length: u8,
}

impl Network {
    /// Whether an address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        let length = u32::from(self.length);
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => same_prefix_v4(base, address, length),
            (IpAddr::V6(base), IpAddr::V6(address)) => same_prefix_v6(base, address, length),
            _ => false,
        }
    }
}

/// Why a text is not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outbound entry {text:?}: {reason}")]
pub struct BadEntry {
    /// What was given, shortened to a readable length.
    pub text: String,
    /// What is wrong with it, and what to write instead.
    pub reason: &'static str,
}

impl BadEntry {
    fn new(text: &str, reason: &'static str) -> Self {
        Self {
            text: text.chars().take(HOST_MAX_BYTES).collect(),
            reason,
        }
    }

    pub(super) fn too_many(text: &str) -> Self {
        Self::new(text, "it is one entry too many; name networks, or use `*.`")
    }
}

impl Entry {
    /// Whether it speaks of this scheme and port.
    pub(super) fn fits(&self, scheme: Scheme, port: u16) -> bool {
        let port_fits = match (self.port, &self.place) {
            (Some(named), _) => named == port,
            (None, Place::Network(_)) if self.scheme.is_none() => true,
            (None, _) => port == scheme.default_port(),
        };
        port_fits && self.scheme.is_none_or(|named| named == scheme)
    }

    /// Whether it speaks of this name, which is as [`plain_host`] leaves it.
    pub(super) fn names(&self, host: &str) -> bool {
        match &self.place {
            Place::Name(name) => name == host,
            Place::Under(parent) => host
                .strip_suffix(parent.as_str())
                .and_then(|front| front.strip_suffix('.'))
                .is_some_and(|front| !front.is_empty() && !front.starts_with('.')),
            Place::Network(_) => false,
        }
    }
}

impl FromStr for Entry {
    type Err = BadEntry;

    fn from_str(text: &str) -> Result<Self, BadEntry> {
        read(text).map_err(|reason| BadEntry::new(text, reason))
    }
}

/// A host as it is compared: lower case, no closing dot, no brackets.
pub(super) fn plain_host(host: &str) -> Cow<'_, str> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    if bare.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(bare.to_ascii_lowercase())
    } else {
        Cow::Borrowed(bare)
    }
}

/// The address that a host is, if it is one.
pub(super) fn literal(plain: &str) -> Option<IpAddr> {
    plain
        .parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

fn read(text: &str) -> Result<Entry, &'static str> {
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(_) => return Err("only http:// and https:// are known"),
        None => (None, text),
    };
    if rest.contains(['@', '?', '#']) {
        return Err("only scheme, host and port are compared; leave the rest away");
    }
    // A bare IPv6 address or network has colons that are no port's.
    if let Some(network) = network(rest)? {
        return Ok(Entry {
            scheme,
            port: None,
            place: Place::Network(network),
        });
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains('/') {
        return Err("only scheme, host and port are compared; leave the path away");
    }
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, Some(read_port(port)?)),
        None => (rest, None),
    };
    Ok(Entry {
        scheme,
        port,
        place: place(host)?,
    })
}

fn read_port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err("the port is a number from 1 to 65535"),
    }
}

fn place(host: &str) -> Result<Place, &'static str> {
    if let Some(network) = network(host)? {
        return Ok(Place::Network(network));
    }
    if host.contains(':') || host.starts_with('[') {
        return Err("an IPv6 address with a port is written [address]:port");
    }
    match host.strip_prefix("*.") {
        Some(parent) => Ok(Place::Under(name(parent)?)),
        None => Ok(Place::Name(name(host)?)),
    }
}

/// An address or a network; none if the text is neither.
fn network(text: &str) -> Result<Option<Network>, &'static str> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) if !length.is_empty() => (address, Some(length)),
        _ => (text.strip_suffix('/').unwrap_or(text), None),
    };
    let bare = address
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let base = match bare {
        Some(bare) => bare.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => address.parse::<IpAddr>(),
    };
    let Ok(base) = base else {
        return Ok(None);
    };
    if base.to_canonical() != base {
        return Err("write an IPv4 address as such, without ::ffff:");
    }
    let (bits, whole) = match base {
        IpAddr::V4(base) => (u128::from(base.to_bits()) << 96, Ipv4Addr::BITS),
        IpAddr::V6(base) => (base.to_bits(), Ipv6Addr::BITS),
    };
    let length = match length {
        None => whole,
        Some(length) => prefix_length(length, whole)?,
    };
    if bits.checked_shl(length).unwrap_or(0) != 0 {
        return Err("the address has bits behind its prefix; write the network's first address");
    }
    let length = u8::try_from(length).map_err(|_| "the prefix is too long")?;
    Ok(Some(Network { base, length }))
}

fn prefix_length(text: &str, whole: u32) -> Result<u32, &'static str> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(length) if digits && length <= whole => Ok(length),
        _ => Err("the prefix length is a number up to 32 for IPv4, 128 for IPv6"),
    }
}

fn name(host: &str) -> Result<String, &'static str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if host.is_empty() {
        return Err("a host is missing");
    }
    if host.contains('*') {
        return Err("a `*` stands only for whole labels at the beginning: `*.example.com`");
    }
    if host.len() > HOST_MAX_BYTES || !host.split('.').all(label) {
        return Err("a host is made of letters, digits, '-' and '.' (other letters as xn--…)");
    }
    // Resolvers read these as IPv4 addresses in odd spellings.
    let last = host.rsplit('.').next().unwrap_or(host);
    let hexadecimal = last.len() >= 2 && last[..2].eq_ignore_ascii_case("0x");
    if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("a host that ends in a number is an address; write it as four decimal numbers");
    }
    Ok(host.to_ascii_lowercase())
}

//! From a request's address to the function that it means.
//!
//! | address | function | what the function sees |
//! | --- | --- | --- |
//! | `NAME.<domain>/path` | `NAME` of owner `default` | `/path` |
//! | `NAME.OWNER.<domain>/path` | `NAME` of `OWNER` | `/path` |
//! | `/fn/NAME/path` on any host | `NAME` of owner `default` | `/path`, prefix `/fn/NAME` |
//! | `/fn/NAME.OWNER/path` on any host | `NAME` of `OWNER` | `/path`, prefix `/fn/NAME.OWNER` |
//!
//! An alias of a function is meant by `ALIAS--NAME` in a host's first label, and by `NAME@ALIAS` or
//! `NAME.OWNER@ALIAS` in a path. `ALIAS--NAME` may be the name of a function too, which comes
//! first; as an alias has no `--` in it, nothing else is in doubt.
//!
//! The path decides before the host, as the second form is there for hosts that name nothing or
//! name something else. Host names are read without regard to case, port and one closing dot.
//!
//! Deliberately absent: whether the function exists (the gateway's table), the query (untouched),
//! and any change of the path: `..` and `%` are the function's own business.

use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::fault::Fault;
use crate::id::{FunctionKey, NAME_MAX_BYTES, Name};
use crate::traffic::{Alias, HOST_MARK, PATH_MARK};

/// What comes before a function's name in a path.
pub const PATH_PREFIX: &str = "/fn/";

/// Longest platform domain, in bytes: a host name has 253, and two labels and their dots fit
/// before.
pub const DOMAIN_MAX_BYTES: usize = 253 - 2 * (NAME_MAX_BYTES + 1);

/// The domain under which functions have host names: lower case, no dot at either end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain(String);

/// Why a text is not a domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a domain: labels of a-z, 0-9 and '-' between dots, not ending in a number, \
     at most {DOMAIN_MAX_BYTES} characters in all"
)]
pub struct BadDomain {
    /// What was given.
    pub text: String,
}

impl Domain {
    /// The domain as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a host has before this domain, if it is under it.
    fn labels<'a>(&self, host: &'a str) -> Option<&'a str> {
        let (front, end) = host.split_at_checked(host.len().checked_sub(self.0.len())?)?;
        let front = front.strip_suffix('.')?;
        end.eq_ignore_ascii_case(&self.0).then_some(front)
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self("localhost".to_owned())
    }
}

impl FromStr for Domain {
    type Err = BadDomain;

    fn from_str(text: &str) -> Result<Self, BadDomain> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= NAME_MAX_BYTES
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        // A name that ends in a number is read as an IPv4 address by clients.
        let numeric = text
            .rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if text.len() <= DOMAIN_MAX_BYTES && !numeric && text.split('.').all(label) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(BadDomain {
                text: text.chars().take(DOMAIN_MAX_BYTES + 1).collect(),
            })
        }
    }
}

/// What a request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The function, which need not exist.
    pub function: FunctionKey,
    /// Its alias, which need not exist either; none: what the bare name serves.
    pub alias: Option<Alias>,
    /// What is meant where there is no such function.
    pub instead: Option<Aliased>,
    /// What was taken off the path's front, for `x-forwarded-prefix`.
    pub prefix: Option<&'a str>,
    /// The path that the function sees; begins with a slash.
    pub path: &'a str,
}

/// An alias of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aliased {
    /// The function.
    pub function: FunctionKey,
    /// The alias.
    pub alias: Alias,
}

/// Why a request means no function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTarget {
    /// The authority is not a host with an optional port.
    #[error("the host is not a name or an address with an optional port")]
    BadHost,
    /// The path does not begin with a slash.
    #[error("the path does not begin with a slash")]
    BadPath,
    /// Neither the host nor the path names a function.
    #[error("neither the host nor the path names a function")]
    Nobody,
}

impl NoTarget {
    /// The fault that the caller is told.
    pub const fn fault(self) -> Fault {
        match self {
            Self::BadHost | Self::BadPath => Fault::BadRequest,
            Self::Nobody => Fault::NoSuchFunction,
        }
    }
}

/// The function that a request means: `authority` is its `Host` header, or what stands for it;
/// `path` is without the query.
///
/// # Errors
/// If the request is malformed, or no function can have this address.
pub fn route<'a>(
    domain: &Domain,
    authority: Option<&str>,
    path: &'a str,
) -> Result<Target<'a>, NoTarget> {
    if !path.starts_with('/') {
        return Err(NoTarget::BadPath);
    }
    let host = authority.map_or(Ok(None), host)?;
    if let Some(target) = by_path(path) {
        return Ok(target);
    }
    let function = host
        .and_then(|host| domain.labels(host))
        .and_then(|labels| key(labels, true))
        .ok_or(NoTarget::Nobody)?;
    let instead = aliased(&function);
    Ok(Target {
        function,
        alias: None,
        instead,
        prefix: None,
        path,
    })
}

/// How a function's name reads if it is an alias before the name of another one.
fn aliased(function: &FunctionKey) -> Option<Aliased> {
    let (alias, name) = function.name.as_str().split_once(HOST_MARK)?;
    Some(Aliased {
        alias: alias.parse().ok()?,
        function: FunctionKey {
            owner: function.owner.clone(),
            name: name.parse().ok()?,
        },
    })
}

fn by_path(path: &str) -> Option<Target<'_>> {
    let behind = path.strip_prefix(PATH_PREFIX)?;
    let length = behind.find('/').unwrap_or(behind.len());
    let (labels, alias) = match behind[..length].split_once(PATH_MARK) {
        None => (&behind[..length], None),
        Some((labels, alias)) => (labels, Some(alias.parse().ok()?)),
    };
    let function = key(labels, false)?;
    let (prefix, rest) = path.split_at(PATH_PREFIX.len() + length);
    let path = if rest.is_empty() { "/" } else { rest };
    Some(Target {
        function,
        alias,
        instead: None,
        prefix: Some(prefix),
        path,
    })
}

/// `NAME` or `NAME.OWNER`.
fn key(labels: &str, any_case: bool) -> Option<FunctionKey> {
    let name = |label: &str| -> Option<Name> {
        if any_case
            && label.len() <= NAME_MAX_BYTES
            && label.bytes().any(|b| b.is_ascii_uppercase())
        {
            return label.to_ascii_lowercase().parse().ok();
        }
        label.parse().ok()
    };
    Some(match labels.split_once('.') {
        None => FunctionKey {
            owner: Name::default_owner(),
            name: name(labels)?,
        },
        Some((first, owner)) => FunctionKey {
            owner: name(owner)?,
            name: name(first)?,
        },
    })
}

/// The host name of an authority, without port and closing dot; none if it is empty or an address
/// in brackets.
fn host(authority: &str) -> Result<Option<&str>, NoTarget> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (address, port) = bracketed.split_once(']').ok_or(NoTarget::BadHost)?;
        let port = if port.is_empty() {
            Some("")
        } else {
            port.strip_prefix(':')
        };
        let legal = address.parse::<Ipv6Addr>().is_ok() && port.is_some_and(is_port);
        return if legal {
            Ok(None)
        } else {
            Err(NoTarget::BadHost)
        };
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let legal = host
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%".contains(&b));
    if !legal || !is_port(port) || (host.is_empty() && !authority.is_empty()) {
        return Err(NoTarget::BadHost);
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    Ok((!host.is_empty()).then_some(host))
}

/// RFC 3986 lets a port be empty.
fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && (text.is_empty() || text.parse::<u16>().is_ok())
}

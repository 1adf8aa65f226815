//! Isolation by key: where a request says whose state it needs, and whose an environment keeps.
//!
//! With `isolation = { key = "header:x-tenant" }` a key owns one whole environment: what its
//! requests leave in it stays, and no other key ever sees it. Keys are compared byte by byte.
//!
//! Deliberately absent: reading a head (`usher-gateway`), hashing for a log (`usher-node`), and
//! which environment a key gets (`start::by_key`).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest key, in bytes.
pub const KEY_MAX_BYTES: usize = 256;

/// Longest name of a header that keys are read from, in bytes.
pub const KEY_HEADER_MAX_BYTES: usize = 128;

/// Headers that belong to one connection or that the gateway writes itself: a function does not see
/// what a client sends in them.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
    "traceparent",
];
const RESERVED_PREFIXES: [&str; 3] = ["proxy-", "usher-", "x-forwarded-"];

/// Whose state a request needs, such as a tenant or a session: 1 to [`KEY_MAX_BYTES`] bytes. Its
/// `Debug` tells the length only, since a key may be a secret.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<[u8]>);

impl Key {
    /// The key that the values of its header name: there must be one, and one only.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn one_of<'v>(values: impl IntoIterator<Item = &'v [u8]>) -> Result<Self, KeyFlaw> {
        let mut values = values.into_iter();
        let first = values.next().ok_or(KeyFlaw::Missing)?;
        if values.next().is_some() {
            return Err(KeyFlaw::Repeated);
        }
        match first.len() {
            0 => Err(KeyFlaw::Missing),
            1..=KEY_MAX_BYTES => Ok(Self(first.into())),
            _ => Err(KeyFlaw::TooLong),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.0.len())
    }
}

/// Why a request names no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyFlaw {
    /// The header is not there, or empty.
    Missing,
    /// It is there more than once, so that two readers could disagree about the key.
    Repeated,
    /// It is longer than [`KEY_MAX_BYTES`].
    TooLong,
}

impl fmt::Display for KeyFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is missing"),
            Self::Repeated => f.write_str("it is there more than once"),
            Self::TooLong => write!(f, "it is longer than {KEY_MAX_BYTES} bytes"),
        }
    }
}

/// Where a request names its key, written `header:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeySource(Arc<str>);

/// Why a text names no place to read keys from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeySource {
    /// It does not begin with the one kind of source that there is.
    #[error("a key is read from a header; write \"header:NAME\", such as \"header:x-tenant\"")]
    NoHeader,
    /// What follows is not the name of a header.
    #[error(
        "what follows \"header:\" is not the name of a header of at most \
         {KEY_HEADER_MAX_BYTES} bytes"
    )]
    NoName,
    /// The gateway takes such a header out, or writes it itself.
    #[error("the header {0} belongs to the connection or to the platform; name another one")]
    Reserved(String),
}

impl KeySource {
    /// The header's name, in lower case.
    pub fn header(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeySource {
    type Err = BadKeySource;

    fn from_str(text: &str) -> Result<Self, BadKeySource> {
        let name = text.strip_prefix("header:").ok_or(BadKeySource::NoHeader)?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || name.len() > KEY_HEADER_MAX_BYTES || !name.bytes().all(is_token) {
            return Err(BadKeySource::NoName);
        }
        let name = name.to_ascii_lowercase();
        let is_reserved = RESERVED.contains(&name.as_str())
            || RESERVED_PREFIXES
                .iter()
                .any(|prefix| name.starts_with(prefix));
        match is_reserved {
            true => Err(BadKeySource::Reserved(name)),
            false => Ok(Self(name.into())),
        }
    }
}

impl TryFrom<String> for KeySource {
    type Error = BadKeySource;

    fn try_from(text: String) -> Result<Self, BadKeySource> {
        text.parse()
    }
}

impl From<KeySource> for String {
    fn from(source: KeySource) -> Self {
        source.to_string()
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "header:{}", self.0)
    }
}

/// An environment keeps the state of another key than the one that was to run in it. It is always a
/// mistake of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment does not keep the state of the request's key; it must be destroyed")]
pub struct OtherKey;

/// Whether a request of this key may run in an environment that keeps the state of `kept_for`;
/// none: nothing has run in it yet. Asked of what the environment itself carries, before each run,
/// whatever the plan says.
///
/// # Errors
/// If it keeps somebody else's, or if nobody is named.
pub fn determine(kept_for: Option<&Key>, wanted: Option<&Key>) -> Result<(), OtherKey> {
    match (kept_for, wanted) {
        (None, Some(_)) => Ok(()),
        (Some(kept_for), Some(wanted)) if kept_for == wanted => Ok(()),
        _ => Err(OtherKey),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::one_of([text.as_bytes()]).unwrap()
    }

    #[test]
    fn a_key_is_one_value_within_its_bound() {
        let long = [b'a'; KEY_MAX_BYTES + 1];
        let of = |values: &[&[u8]]| Key::one_of(values.iter().copied());
        assert_eq!(of(&[]), Err(KeyFlaw::Missing));
        assert_eq!(of(&[b""]), Err(KeyFlaw::Missing));
        assert_eq!(of(&[b"a", b"a"]), Err(KeyFlaw::Repeated));
        assert_eq!(of(&[b"", b"a"]), Err(KeyFlaw::Repeated));
        assert_eq!(of(&[&long]), Err(KeyFlaw::TooLong));
        assert_eq!(of(&[&long[1..]]).unwrap().bytes(), &long[1..]);
        assert_eq!(of(&[b"\xff\xfe"]).unwrap().bytes(), b"\xff\xfe");
        assert_ne!(key("a"), key("A"));
    }

    #[test]
    fn a_key_is_not_told_by_its_debug_form() {
        assert_eq!(format!("{:?}", key("secret")), "Key(6 bytes)");
    }

    #[test]
    fn sources_are_headers_that_a_function_sees() {
        let source: KeySource = "header:X-Tenant".parse().unwrap();
        assert_eq!(source.header(), "x-tenant");
        assert_eq!(source.to_string(), "header:x-tenant");
        for (text, bad) in [
            ("x-tenant", BadKeySource::NoHeader),
            ("cookie:session", BadKeySource::NoHeader),
            ("header:", BadKeySource::NoName),
            ("header:x tenant", BadKeySource::NoName),
            ("header:x:y", BadKeySource::NoName),
            ("header:Host", BadKeySource::Reserved("host".to_owned())),
            (
                "header:usher-run",
                BadKeySource::Reserved("usher-run".to_owned()),
            ),
            (
                "header:x-forwarded-for",
                BadKeySource::Reserved("x-forwarded-for".to_owned()),
            ),
        ] {
            assert_eq!(text.parse::<KeySource>(), Err(bad), "{text}");
        }
        let long = format!("header:{}", "x".repeat(KEY_HEADER_MAX_BYTES + 1));
        assert_eq!(long.parse::<KeySource>(), Err(BadKeySource::NoName));
    }

    #[test]
    fn only_what_is_clean_or_kept_for_the_same_key_is_run_in() {
        let (one, other) = (key("one"), key("other"));
        assert_eq!(determine(None, Some(&one)), Ok(()));
        assert_eq!(determine(Some(&one), Some(&key("one"))), Ok(()));
        assert_eq!(determine(Some(&other), Some(&one)), Err(OtherKey));
        assert_eq!(determine(Some(&other), None), Err(OtherKey));
        assert_eq!(determine(None, None), Err(OtherKey));
    }
}

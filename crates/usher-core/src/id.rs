//! Identifiers: what the platform calls its things.
//!
//! Names come from people and are validated; digests come from bytes; numbers are given out by one
//! owner each and are unique within that owner's process. Deliberately absent: hashing and
//! randomness, which the callers do.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

/// Longest name of a function or an owner, in bytes: one DNS label.
pub const NAME_MAX_BYTES: usize = 63;

/// A function's or an owner's name: `[a-z][a-z0-9-]{0,62}`, not ending in a hyphen, so that it is
/// one DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a name: 1 to 63 characters, a-z, 0-9 and '-', \
     beginning with a letter, not ending in '-'"
)]
pub struct BadName {
    /// The text that was given, shortened to a readable length.
    pub text: String,
}

impl Name {
    /// The owner of everything that names no owner.
    pub fn default_owner() -> Self {
        static DEFAULT: LazyLock<Name> = LazyLock::new(|| Name(Arc::from("default")));
        DEFAULT.clone()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bytes = text.as_bytes();
        let legal = !bytes.is_empty()
            && bytes.len() <= NAME_MAX_BYTES
            && bytes[0].is_ascii_lowercase()
            && bytes[bytes.len() - 1] != b'-'
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if legal {
            Ok(Self(Arc::from(text)))
        } else {
            Err(BadName {
                text: text.chars().take(NAME_MAX_BYTES + 1).collect(),
            })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A function: a name with an owner. Unique on the platform.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FunctionKey {
    /// Whose function it is.
    pub owner: Name,
    /// Its name, unique per owner.
    pub name: Name,
}

impl FunctionKey {
    /// Its name as it stands in addresses: alone where the owner is the default one, else
    /// `NAME.OWNER`.
    pub fn dotted(&self) -> String {
        match self.owner == Name::default_owner() {
            true => self.name.to_string(),
            false => format!("{}.{}", self.name, self.owner),
        }
    }
}

impl fmt::Display for FunctionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct BadDigest;

impl Digest {
    /// The first twelve hexadecimal digits, for people to read.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 64];
        f.write_str(hexadecimal(&self.0, &mut text))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(BadDigest);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(|_| BadDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// An immutable deployment: the digest over owner, artifact digest and settings, so that nothing
/// that differs in any of the three is ever taken for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionId(pub Digest);

impl fmt::Display for RevisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One environment, unique in its process and never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EnvironmentId(pub u64);

/// One area, unique in its process and never given out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AreaId(pub u64);

/// How often an area was taken into use: rises by one with each use.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// One request, from the gateway to the last log line: 128 random bits, written as 32 hexadecimal
/// digits. It serves as the trace id where the caller brought none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestId(pub u128);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        f.write_str(hexadecimal(&self.0.to_be_bytes(), &mut text))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a request id is 32 hexadecimal digits")]
pub struct BadRequestId;

impl TryFrom<String> for RequestId {
    type Error = BadRequestId;

    fn try_from(text: String) -> Result<Self, BadRequestId> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadRequestId);
        }
        u128::from_str_radix(&text, 16)
            .map(Self)
            .map_err(|_| BadRequestId)
    }
}

impl From<RequestId> for String {
    fn from(id: RequestId) -> Self {
        id.to_string()
    }
}

/// Writes two digits for each byte. Every log line has two of these numbers, and formatting them
/// byte by byte would cost more than all the rest of the line.
fn hexadecimal<'a>(bytes: &[u8], text: &'a mut [u8]) -> &'a str {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ];
    }
    str::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_hexadecimal_digits_with_leading_zeros() {
        let mut digest = [0; 32];
        digest[0] = 0x0a;
        digest[31] = 0xf9;
        let text = Digest(digest).to_string();
        assert_eq!(text, format!("0a{}f9", "0".repeat(60)));
        assert_eq!(text.parse(), Ok(Digest(digest)));
        assert_eq!(RequestId(0xab).to_string(), format!("{}ab", "0".repeat(30)));
        let all = RequestId(u128::MAX).to_string();
        assert_eq!(RequestId::try_from(all).unwrap(), RequestId(u128::MAX));
    }

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "hello", "a-1", &"a".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "A",
            "1a",
            "-a",
            "a-",
            "a_b",
            "a.b",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken for a name");
        }
    }

    #[test]
    fn digests_and_request_ids_read_what_they_write() {
        let digest = Digest(std::array::from_fn(|at| u8::try_from(at * 7).unwrap()));
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("+f".repeat(32).parse::<Digest>().is_err());
        let id = RequestId(42);
        assert_eq!(RequestId::try_from(id.to_string()).unwrap(), id);
        assert!(RequestId::try_from("+".repeat(32)).is_err());
    }
}

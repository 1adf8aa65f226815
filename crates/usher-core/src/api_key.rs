//! Keys of the API: what one looks like, whom it speaks for, and what it allows.
//!
//! ```text
//!   ushk_ 0123456789ab _ 64 digits 8 digits
//!         id             256 bits  checksum of all before it
//! ```
//!
//! A key that leaked can be found by its form, and one that was mistyped is told apart from one
//! that is not known, without asking anybody. What is kept of it is its id and the SHA-256 digest
//! of its text: 256 bits of randomness cannot be guessed, so a hash that is slow on purpose would
//! cost time on each call and add nothing.
//!
//! Deliberately absent: hashing, randomness and the clock, which the callers bring; keys that state
//! is kept by (`key`).

use std::collections::BTreeSet;
use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{Digest, Name};

/// What every key begins with.
pub const KEY_PREFIX: &str = "ushk_";

/// The longest label of a key, in bytes.
pub const LABEL_MAX_BYTES: usize = 128;

const ID_DIGITS: usize = 12;
const RANDOM_DIGITS: usize = 64;
const CHECK_DIGITS: usize = 8;
const KEY_BYTES: usize = KEY_PREFIX.len() + ID_DIGITS + 1 + RANDOM_DIGITS + CHECK_DIGITS;

/// What a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// To see functions, their revisions and logs.
    Read,
    /// To change functions.
    Deploy,
    /// To call functions that ask for a key.
    Invoke,
    /// All of that, and to manage keys and read the audit log.
    Admin,
}

impl Scope {
    /// Its word, as people write it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Invoke => "invoke",
            Self::Admin => "admin",
        }
    }
}

/// Why a text is none of the scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a scope is read, deploy, invoke or admin")]
pub struct BadScope;

impl FromStr for Scope {
    type Err = BadScope;

    fn from_str(text: &str) -> Result<Self, BadScope> {
        [Self::Read, Self::Deploy, Self::Invoke, Self::Admin]
            .into_iter()
            .find(|scope| scope.word() == text)
            .ok_or(BadScope)
    }
}

/// What a key is called: it may be told and logged. Written as 12 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(u64);

impl KeyId {
    /// An id of 48 of these bits.
    pub const fn new(bits: u64) -> Self {
        Self(bits & 0xffff_ffff_ffff)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

/// Why a text is not the id of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key is 12 digits of 0-9 and a-f; `usher key list` shows them")]
pub struct BadKeyId;

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, BadKeyId> {
        let bits = are_digits(text, ID_DIGITS).then(|| u64::from_str_radix(text, 16));
        bits.and_then(Result::ok).map(Self).ok_or(BadKeyId)
    }
}

impl TryFrom<String> for KeyId {
    type Error = BadKeyId;

    fn try_from(text: String) -> Result<Self, BadKeyId> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// A whole key. It is shown once, to whoever made it, and never by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    id: KeyId,
    text: String,
}

impl Secret {
    /// The key of this id with these 256 random bits.
    pub fn new(id: KeyId, random: [u8; 32]) -> Self {
        let mut text = format!("{KEY_PREFIX}{id}_{}", Digest(random));
        let check = checksum(text.as_bytes());
        text.push_str(&format!("{check:08x}"));
        Self { id, text }
    }

    /// Its id.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The secret itself.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.id)
    }
}

/// Why a text is not a key. It does not repeat the text, which may be a secret of somebody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a key of this platform: one begins with \"ushk_\" and has {KEY_BYTES} characters; \
     a part may be missing, or a character mistyped"
)]
pub struct BadSecret;

impl FromStr for Secret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let inner = text.strip_prefix(KEY_PREFIX).ok_or(BadSecret)?;
        let (id, rest) = inner.split_once('_').ok_or(BadSecret)?;
        let id = id.parse().map_err(|_| BadSecret)?;
        if !are_digits(rest, RANDOM_DIGITS + CHECK_DIGITS) {
            return Err(BadSecret);
        }
        let (before, check) = text.split_at(KEY_BYTES - CHECK_DIGITS);
        match format!("{:08x}", checksum(before.as_bytes())) == check {
            true => Ok(Self {
                id,
                text: text.to_owned(),
            }),
            false => Err(BadSecret),
        }
    }
}

fn are_digits(text: &str, count: usize) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == count && text.bytes().all(digit)
}

/// CRC-32 as in ISO 3309, which scanners for leaked keys compute too. It guards against typing
/// errors and chance, not against anybody.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            let poly = if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
            sum = (sum >> 1) ^ poly;
        }
    }
    !sum
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Which.
    pub id: KeyId,
    /// Whose functions it speaks for; none: everybody's.
    #[serde(default)]
    pub owner: Option<Name>,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// From when on it is not taken any more, in the same; none: it does not expire.
    #[serde(default)]
    pub expires_us: Option<u64>,
    /// What people call it.
    #[serde(default)]
    pub label: String,
    /// The SHA-256 digest of its text.
    pub digest: Digest,
}

/// Why a key is not taken. Callers are not told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is another key of the same id.
    #[error("its secret is another one")]
    Wrong,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
}

impl KeyRecord {
    /// Whether a key whose text has this digest is this one, and is taken now.
    pub fn admits(&self, digest: &Digest, now_us: u64) -> Result<(), Unfit> {
        if !same(&self.digest, digest) {
            return Err(Unfit::Wrong);
        }
        match self.expired(now_us) {
            true => Err(Unfit::Expired),
            false => Ok(()),
        }
    }

    /// Whether its time is over.
    pub fn expired(&self, now_us: u64) -> bool {
        self.expires_us
            .is_some_and(|expires_us| expires_us <= now_us)
    }

    /// Whether it allows this.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether it speaks for this owner.
    pub fn speaks_for(&self, owner: &Name) -> bool {
        self.owner.as_ref().is_none_or(|own| own == owner)
    }

    /// Whether it can manage the platform, expired or not.
    pub fn administers(&self) -> bool {
        self.owner.is_none() && self.scopes.contains(&Scope::Admin)
    }
}

/// Compares all bytes whatever the first ones are, so that the time says nothing of them.
fn same(left: &Digest, right: &Digest) -> bool {
    let pairs = left.0.iter().zip(&right.0);
    let differs = pairs.fold(0_u8, |differs, (left, right)| {
        black_box(differs | (left ^ right))
    });
    differs == 0
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(KeyId::new(0x12_3456_789a), [0xab; 32])
    }

    fn record() -> KeyRecord {
        KeyRecord {
            id: secret().id(),
            owner: Some("ann".parse().unwrap()),
            scopes: [Scope::Read].into(),
            created_us: 1,
            expires_us: Some(10),
            label: String::new(),
            digest: Digest([7; 32]),
        }
    }

    #[test]
    fn a_key_reads_what_it_writes_and_shows_nothing_by_itself() {
        let secret = secret();
        assert!(secret.text().starts_with("ushk_00123456789a_abab"));
        assert_eq!(secret.text().len(), KEY_BYTES);
        assert_eq!(secret.text().parse::<Secret>().unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "Secret(00123456789a)");
    }

    /// The value that the standard gives for its test text.
    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn one_wrong_or_missing_character_is_noticed() {
        let secret = secret();
        let text = secret.text();
        for at in 0..text.len() {
            let other = if &text[at..=at] == "0" { "1" } else { "0" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(changed.parse::<Secret>(), Err(BadSecret), "{changed}");
            let missing = format!("{}{}", &text[..at], &text[at + 1..]);
            assert_eq!(missing.parse::<Secret>(), Err(BadSecret), "{missing}");
        }
        for broken in [
            "",
            "ushk_",
            "ushk__",
            &text.to_uppercase(),
            &format!("{text}0"),
        ] {
            assert_eq!(broken.parse::<Secret>(), Err(BadSecret), "{broken}");
        }
        let foreign = format!("ushk_00123456789a_{}", "ä".repeat(36));
        assert_eq!(foreign.parse::<Secret>(), Err(BadSecret));
    }

    #[test]
    fn only_the_same_secret_in_its_time_is_taken() {
        let record = record();
        assert_eq!(record.admits(&Digest([7; 32]), 9), Ok(()));
        assert_eq!(record.admits(&Digest([7; 32]), 10), Err(Unfit::Expired));
        for at in 0..32 {
            let mut digest = [7; 32];
            digest[at] ^= 1;
            let told = record.admits(&Digest(digest), 9);
            assert_eq!(told, Err(Unfit::Wrong), "byte {at}");
        }
        let for_ever = KeyRecord {
            expires_us: None,
            ..record
        };
        assert_eq!(for_ever.admits(&Digest([7; 32]), u64::MAX), Ok(()));
    }

    #[test]
    fn a_key_speaks_for_its_owner_and_allows_its_scopes() {
        let mut record = record();
        let (ann, bob) = ("ann".parse().unwrap(), "bob".parse().unwrap());
        assert!(record.speaks_for(&ann) && !record.speaks_for(&bob));
        assert!(record.allows(Scope::Read) && !record.allows(Scope::Deploy));
        record.scopes = [Scope::Admin].into();
        let all = [Scope::Read, Scope::Deploy, Scope::Invoke, Scope::Admin];
        assert!(all.into_iter().all(|scope| record.allows(scope)));
        assert!(!record.administers());
        record.owner = None;
        assert!(record.administers() && record.speaks_for(&bob));
        for scope in all {
            assert_eq!(scope.word().parse(), Ok(scope));
        }
    }
}

//! Buckets of functions' shared state: whose a bucket is, where it stands, and what fits into it.
//!
//! ```text
//!   open("default")    by function `default/shop` ─► default.shop.default
//!   open("owner:rates") by function `default/shop` ─► default._.rates      granted or refused
//! ```
//!
//! A place names owner, function and bucket in tokens of their own, and `_` is no function's name,
//! so that no two buckets share a place, whatever they are called.
//!
//! Deliberately absent: the store, and how a key is written there.

use std::fmt;
use std::str::FromStr;

use crate::function::KeyValueGrant;
use crate::id::{FunctionKey, Name};

/// The longest key, in bytes.
pub const KEY_MAX_BYTES: usize = 1_024;
/// What stands before the name of a bucket that all functions of an owner share.
pub const OWNER_MARK: &str = "owner:";
/// In the place of a function's name, where there is none.
const NO_FUNCTION: &str = "_";

/// A bucket's name as a manifest writes it and a function opens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketName {
    /// All functions of the owner share it.
    shared: bool,
    name: Name,
}

/// Why a text is no bucket's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no name of a bucket: write one such as \"default\", or \"owner:rates\" for one that all \
     functions of the owner share; a-z, 0-9 and '-', beginning with a letter"
)]
pub struct BadBucketName;

impl FromStr for BucketName {
    type Err = BadBucketName;

    fn from_str(text: &str) -> Result<Self, BadBucketName> {
        let (shared, name) = match text.strip_prefix(OWNER_MARK) {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = name.parse().map_err(|_| BadBucketName)?;
        Ok(Self { shared, name })
    }
}

/// One bucket, of a function or of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    owner: Name,
    function: Option<Name>,
    name: Name,
}

/// The function may not use this bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the function's manifest does not grant this bucket")]
pub struct NotGranted;

impl Bucket {
    /// The bucket that a function means by `identifier`, if its manifest grants it.
    pub fn granted(
        function: &FunctionKey,
        grant: &KeyValueGrant,
        identifier: &str,
    ) -> Result<Self, NotGranted> {
        let listed = grant.buckets.iter().any(|bucket| bucket == identifier);
        let name: BucketName = identifier.parse().map_err(|_| NotGranted)?;
        match listed {
            true => Ok(Self {
                owner: function.owner.clone(),
                function: (!name.shared).then(|| function.name.clone()),
                name: name.name,
            }),
            false => Err(NotGranted),
        }
    }

    /// Where it stands: three tokens joined by dots, which names do not have.
    pub fn place(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let function = self.function.as_ref().map_or(NO_FUNCTION, Name::as_str);
        write!(f, "{}.{function}.{}", self.owner, self.name)
    }
}

/// What a bucket holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Its keys.
    pub keys: u64,
    /// All keys and values, in bytes.
    pub bytes: u64,
}

/// Why something is not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverBound {
    /// The key is empty.
    #[error("a key has at least one byte")]
    NoKey,
    /// The key is too long.
    #[error("a key has at most {KEY_MAX_BYTES} bytes, and this one has {bytes}")]
    Key {
        /// Its length.
        bytes: usize,
    },
    /// The value is too large.
    #[error("keyvalue.value_max_bytes is {most}, and this value has {bytes}")]
    Value {
        /// Its size.
        bytes: usize,
        /// The bound.
        most: u32,
    },
    /// There are too many keys.
    #[error("keyvalue.keys_max is {most}, and the bucket has as many")]
    Keys {
        /// The bound.
        most: u32,
    },
    /// The bucket is too large.
    #[error("keyvalue.bucket_max_bytes is {most}, and the bucket would have {bytes}")]
    Bucket {
        /// What it would have.
        bytes: u64,
        /// The bound.
        most: u64,
    },
}

/// Whether a text can be a key.
pub fn check_key(key: &str) -> Result<(), OverBound> {
    match key.len() {
        0 => Err(OverBound::NoKey),
        bytes if bytes > KEY_MAX_BYTES => Err(OverBound::Key { bytes }),
        _ => Ok(()),
    }
}

/// What a bucket holds after a value was written; `before`: the length of the value that was there.
/// What makes a bucket smaller is always permitted, also where its bounds were lowered.
pub fn put(
    usage: Usage,
    key: &str,
    before: Option<usize>,
    after: usize,
    grant: &KeyValueGrant,
) -> Result<Usage, OverBound> {
    check_key(key)?;
    let most = grant.value_max_bytes;
    if u64::try_from(after).unwrap_or(u64::MAX) > u64::from(most) {
        return Err(OverBound::Value { bytes: after, most });
    }
    let without = removed(usage, key, before);
    let now = Usage {
        keys: without.keys + 1,
        bytes: without.bytes.saturating_add(cost(key, after)),
    };
    if now.keys > usage.keys && now.keys > u64::from(grant.keys_max) {
        let most = grant.keys_max;
        return Err(OverBound::Keys { most });
    }
    if now.bytes > usage.bytes && now.bytes > grant.bucket_max_bytes {
        let (bytes, most) = (now.bytes, grant.bucket_max_bytes);
        return Err(OverBound::Bucket { bytes, most });
    }
    Ok(now)
}

/// What a bucket holds after a key was removed; `before`: the length of the value that was there.
pub fn removed(usage: Usage, key: &str, before: Option<usize>) -> Usage {
    match before {
        Some(value) => Usage {
            keys: usage.keys.saturating_sub(1),
            bytes: usage.bytes.saturating_sub(cost(key, value)),
        },
        None => usage,
    }
}

/// What an entry counts, in bytes.
pub fn cost(key: &str, value_bytes: usize) -> u64 {
    u64::try_from(key.len().saturating_add(value_bytes)).unwrap_or(u64::MAX)
}

/// Why a number could not be added to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotANumber {
    /// The value is something else.
    #[error("the value is no whole number in decimal digits")]
    Text,
    /// The sum does not fit.
    #[error("the sum does not fit into 64 bits")]
    Overflow,
}

/// A number as it stands in a bucket, decimal digits, with `delta` added; none is 0.
pub fn incremented(value: Option<&[u8]>, delta: i64) -> Result<i64, NotANumber> {
    let number = match value {
        None => 0,
        Some(text) => str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .ok_or(NotANumber::Text)?,
    };
    number.checked_add(delta).ok_or(NotANumber::Overflow)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn function(owner: &str, name: &str) -> FunctionKey {
        FunctionKey {
            owner: owner.parse().unwrap(),
            name: name.parse().unwrap(),
        }
    }

    fn grant(buckets: &[&str]) -> KeyValueGrant {
        KeyValueGrant {
            buckets: buckets.iter().map(|&bucket| bucket.to_owned()).collect(),
            keys_max: 2,
            value_max_bytes: 4,
            bucket_max_bytes: 12,
        }
    }

    #[test]
    fn a_bucket_is_had_by_grant_only_and_no_two_share_a_place() {
        let all = grant(&["default", "owner:default", "owner:rates"]);
        let place = |owner, name, bucket| {
            let bucket = Bucket::granted(&function(owner, name), &all, bucket);
            bucket.map(|bucket| bucket.place())
        };
        assert_eq!(place("a", "f", "default").unwrap(), "a.f.default");
        assert_eq!(place("a", "g", "default").unwrap(), "a.g.default");
        assert_eq!(place("b", "f", "default").unwrap(), "b.f.default");
        assert_eq!(place("a", "f", "owner:default").unwrap(), "a._.default");
        assert_eq!(place("a", "g", "owner:default").unwrap(), "a._.default");
        for other in [
            "",
            "rates",
            "owner:",
            "owner:other",
            "default.x",
            "a.g.default",
            "_",
            "*",
        ] {
            assert_eq!(place("a", "f", other), Err(NotGranted), "{other}");
        }
        let none = Bucket::granted(&function("a", "f"), &grant(&[]), "default");
        assert_eq!(none, Err(NotGranted));
        for bad in ["_", "a.b", "owner:owner:a", "A", "owner:a.b", " default"] {
            assert_eq!(bad.parse::<BucketName>(), Err(BadBucketName), "{bad}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_what_makes_room_is_not() {
        let grant = grant(&[]);
        let empty = Usage::default();
        let one = put(empty, "a", None, 4, &grant).unwrap();
        assert_eq!(one, Usage { keys: 1, bytes: 5 });
        assert_eq!(put(empty, "", None, 0, &grant), Err(OverBound::NoKey));
        let long = "k".repeat(KEY_MAX_BYTES + 1);
        assert!(matches!(
            put(empty, &long, None, 0, &grant),
            Err(OverBound::Key { .. })
        ));
        let large = put(empty, "a", None, 5, &grant);
        assert!(matches!(large, Err(OverBound::Value { bytes: 5, most: 4 })));
        let two = put(one, "bb", None, 4, &grant).unwrap();
        assert_eq!(two, Usage { keys: 2, bytes: 11 });
        assert_eq!(
            put(two, "c", None, 0, &grant),
            Err(OverBound::Keys { most: 2 })
        );
        let fat = put(one, "bbbb", None, 4, &grant);
        assert!(matches!(
            fat,
            Err(OverBound::Bucket {
                bytes: 13,
                most: 12
            })
        ));
        // A bucket above its bounds, because they were lowered, can still be emptied.
        let above = Usage { keys: 9, bytes: 90 };
        assert!(put(above, "a", Some(4), 3, &grant).is_ok());
        assert!(put(above, "a", Some(3), 4, &grant).is_err());
        assert_eq!(removed(two, "bb", Some(4)), one);
        assert_eq!(removed(two, "bb", None), two);
    }

    #[test]
    fn numbers_are_decimal_and_never_wrap() {
        assert_eq!(incremented(None, -3), Ok(-3));
        assert_eq!(incremented(Some(b"41"), 1), Ok(42));
        for other in [
            &b""[..],
            b"x",
            b"1.5",
            b" 1",
            b"\xff",
            b"9223372036854775808",
        ] {
            assert_eq!(incremented(Some(other), 1), Err(NotANumber::Text));
        }
        let most = i64::MAX.to_string();
        assert_eq!(
            incremented(Some(most.as_bytes()), 1),
            Err(NotANumber::Overflow)
        );
    }
}

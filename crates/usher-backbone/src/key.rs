//! Which texts are keys, and which are prefixes.
//!
//! A key is tokens joined by dots, as in `functions.default.hello`; a prefix is whole tokens with
//! a dot behind each (`functions.default.`), or empty for everything. Both are what a NATS
//! key-value bucket can say, so that every implementer can take every key.

/// Longest key, in bytes.
pub const KEY_MAX_BYTES: usize = 256;

/// Why a text is not a key, or not a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Nothing stands where a key is wanted.
    #[error("a key has at least one character")]
    Empty,
    /// Longer than [`KEY_MAX_BYTES`].
    #[error("a key of {bytes} bytes; the longest has {KEY_MAX_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that keys do not have.
    #[error("{key:?} has a character other than letters, digits and - _ = / .")]
    Character {
        /// The text that was given.
        key: String,
    },
    /// A dot at an end, or two in a row.
    #[error("{key:?} has an empty token: dots stand between tokens only")]
    EmptyToken {
        /// The text that was given.
        key: String,
    },
    /// A prefix that stops inside a token.
    #[error("the prefix {prefix:?} does not end with a dot")]
    OpenPrefix {
        /// The text that was given.
        prefix: String,
    },
}

/// Says whether `key` can name an entry: `[-_=/a-zA-Z0-9]+` tokens joined by dots, at most
/// [`KEY_MAX_BYTES`].
pub fn check_key(key: &str) -> Result<(), BadKey> {
    if key.is_empty() {
        return Err(BadKey::Empty);
    }
    if key.len() > KEY_MAX_BYTES {
        return Err(BadKey::TooLong { bytes: key.len() });
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=/.".contains(&byte);
    if !key.bytes().all(allowed) {
        return Err(BadKey::Character { key: key.into() });
    }
    if key.split('.').any(str::is_empty) {
        return Err(BadKey::EmptyToken { key: key.into() });
    }
    Ok(())
}

/// Says whether `prefix` can select entries: empty, or a key with a dot behind it.
pub fn check_prefix(prefix: &str) -> Result<(), BadKey> {
    if prefix.is_empty() {
        return Ok(());
    }
    match prefix.strip_suffix('.') {
        Some(tokens) => check_key(tokens),
        None => Err(BadKey::OpenPrefix {
            prefix: prefix.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_tokens_joined_by_dots() {
        let longest = "k".repeat(KEY_MAX_BYTES);
        for good in ["a", "a.b", "functions.default.hello-1", "A_=/9", &longest] {
            assert_eq!(check_key(good), Ok(()), "{good}");
        }
        let too_long = "k".repeat(KEY_MAX_BYTES + 1);
        for bad in [
            "", ".", ".a", "a.", "a..b", "a b", "a*", "a>", "ä", "a\n", &too_long,
        ] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn prefixes_are_whole_tokens() {
        for good in ["", "a.", "a.b."] {
            assert_eq!(check_prefix(good), Ok(()), "{good}");
        }
        for bad in ["a", ".", "a..", "a.b", "*."] {
            assert!(check_prefix(bad).is_err(), "{bad:?}");
        }
    }
}

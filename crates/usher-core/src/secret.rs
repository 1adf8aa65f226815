//! A secret's value in memory: never shown, and written over when it is dropped.
//!
//! Deliberately absent: where secrets are kept, and how they are sealed there.

use std::fmt;

use zeroize::Zeroizing;

/// The longest value, in bytes.
pub const SECRET_MAX_BYTES: usize = 64 << 10;

/// The value of a secret. Its `Debug` tells nothing, it has no `Display`, and the bytes are written
/// over when it is dropped; copies that a reader makes are the reader's.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes a value over; the vector's own memory is what is written over later.
    pub fn new(value: Vec<u8>) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, if it is one.
    pub fn text(&self) -> Option<&str> {
        str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_not_shown() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert_eq!(
            format!("{secret:?} {:#?}", Some(&secret))
                .matches("hunter2")
                .count(),
            0
        );
        assert_eq!(secret.text(), Some("hunter2"));
        assert_eq!(Secret::new(vec![0xff]).text(), None);
    }
}

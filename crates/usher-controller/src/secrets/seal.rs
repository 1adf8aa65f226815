//! Sealing one value: ChaCha20-Poly1305 with a random nonce for each write, bound to owner and
//! name.
//!
//! A sealed value that is moved to another name does not open, and neither does one of which a byte
//! was changed. Deliberately absent: where the key comes from (`key`).

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use usher_core::id::Name;
use usher_core::secret::Secret;

use super::key::SealKey;

/// A value at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed {
    /// The id of the key that seals it.
    pub(super) key: String,
    /// Hexadecimal, 96 bits.
    nonce: String,
    /// Hexadecimal: the value, encrypted, and its tag.
    text: String,
}

/// Why a sealed value does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOpened {
    #[error("it is sealed by the key {found}, and this platform has {known}")]
    OtherKey { found: String, known: String },
    #[error("it was changed after it was sealed, or belongs to another name")]
    Changed,
}

/// The machine gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no random numbers are to be had")]
pub(super) struct NotSealed;

impl SealKey {
    /// Seals a value for this name and no other.
    pub(super) fn seal(
        &self,
        owner: &Name,
        name: &Name,
        value: &Secret,
    ) -> Result<Sealed, NotSealed> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| NotSealed)?;
        let mut text = value.bytes().to_vec();
        let aad = Aad::from(bound_to(owner, name));
        let key = self.cipher();
        // It is encrypted in place, so that no copy of the value is left.
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut text)
            .map_err(|_| NotSealed)?;
        Ok(Sealed {
            key: self.id().to_owned(),
            nonce: hexadecimal(&nonce),
            text: hexadecimal(&text),
        })
    }

    /// Opens what was sealed for this name.
    pub(super) fn open(
        &self,
        owner: &Name,
        name: &Name,
        sealed: &Sealed,
    ) -> Result<Secret, NotOpened> {
        if sealed.key != self.id() {
            return Err(NotOpened::OtherKey {
                found: sealed.key.clone(),
                known: self.id().to_owned(),
            });
        }
        let nonce = bytes(&sealed.nonce).and_then(|it| <[u8; NONCE_LEN]>::try_from(it).ok());
        let nonce = nonce.ok_or(NotOpened::Changed)?;
        let mut text = bytes(&sealed.text).ok_or(NotOpened::Changed)?;
        let aad = Aad::from(bound_to(owner, name));
        let key = self.cipher();
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut text);
        let length = opened.map_err(|_| NotOpened::Changed)?.len();
        text.truncate(length);
        Ok(Secret::new(text))
    }

    fn cipher(&self) -> &LessSafeKey {
        &self.cipher
    }
}

/// What a value is bound to. Names have no zero bytes.
fn bound_to(owner: &Name, name: &Name) -> Vec<u8> {
    format!("usher-secret-1\0{owner}\0{name}").into_bytes()
}

/// The algorithm of all keys.
pub(super) static ALGORITHM: &ring::aead::Algorithm = &CHACHA20_POLY1305;

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = (0..text.len()).step_by(2);
    let bytes = pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok());
    bytes.collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        name.parse().unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_own_name_and_key_only() {
        let (key, other) = (SealKey::random().unwrap(), SealKey::random().unwrap());
        let (owner, db, token) = (name("default"), name("db"), name("token"));
        let secret = Secret::new(b"hunter2".to_vec());
        let sealed = key.seal(&owner, &db, &secret).unwrap();
        assert_eq!(key.open(&owner, &db, &sealed).unwrap().bytes(), b"hunter2");
        assert_eq!(
            key.open(&owner, &token, &sealed).unwrap_err(),
            NotOpened::Changed
        );
        assert_eq!(
            key.open(&name("ow"), &db, &sealed).unwrap_err(),
            NotOpened::Changed
        );
        // Owner and name are apart: `ab` `c` is not `a` `bc`.
        let apart = key.seal(&name("ab"), &name("c"), &secret).unwrap();
        assert!(key.open(&name("a"), &name("bc"), &apart).is_err());
        let refused = other.open(&owner, &db, &sealed).unwrap_err();
        assert!(matches!(refused, NotOpened::OtherKey { .. }), "{refused}");
        let again = key.seal(&owner, &db, &secret).unwrap();
        assert_ne!(again.text, sealed.text, "a nonce of its own for each write");
        assert!(!serde_json::to_string(&sealed).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_changed_byte_is_noticed_wherever_it_is() {
        let key = SealKey::random().unwrap();
        let (owner, db) = (name("default"), name("db"));
        let sealed = key
            .seal(&owner, &db, &Secret::new(b"hunter2".to_vec()))
            .unwrap();
        for at in 0..sealed.text.len() {
            let mut changed = sealed.clone();
            let digit = match &sealed.text[at..=at] {
                "0" => "1",
                _ => "0",
            };
            changed.text.replace_range(at..=at, digit);
            assert_eq!(
                key.open(&owner, &db, &changed).unwrap_err(),
                NotOpened::Changed
            );
        }
        for broken in ["", "0", "zz", "00"] {
            let mut changed = sealed.clone();
            changed.nonce = broken.to_owned();
            assert!(key.open(&owner, &db, &changed).is_err(), "{broken}");
            let mut changed = sealed.clone();
            changed.text = broken.to_owned();
            assert!(key.open(&owner, &db, &changed).is_err(), "{broken}");
        }
    }
}

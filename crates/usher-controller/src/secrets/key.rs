//! The key that seals secrets: 256 random bits in a file, of the data folder or of elsewhere.
//!
//! ```text
//!   data folder: secrets.key is made if it is not there     (whoever has the folder has both)
//!   --secrets-key FILE: must be there                       (a credential, another disk, a token)
//! ```
//!
//! Its file has 64 hexadecimal digits in one line. The id of a key is made of its digest, so that
//! a record says which key it needs and tells nothing of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::aead::{LessSafeKey, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest as _, Sha256};
use usher_core::secret::Secret;

use super::seal::{ALGORITHM, bytes, hexadecimal};

/// The key's file in a data folder.
pub const KEY_FILE: &str = "secrets.key";
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Bytes of the digest that are a key's id.
const ID_BYTES: usize = 6;
/// The most that is read of a key's file, in bytes.
const FILE_MAX_BYTES: u64 = 256;
/// Bits of a file's mode by which others than its owner and group can read or change it.
const OTHERS: u32 = 0o007;

/// A key that seals and opens.
pub struct SealKey {
    id: String,
    pub(super) cipher: LessSafeKey,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("the key of the secrets, {}, cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not a key.
    #[error(
        "{} is no key of secrets: it has 64 hexadecimal digits, as `openssl rand -hex 32` writes \
         them",
        path.display()
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// Anybody can read it.
    #[error("{} can be read by everybody: chmod 600 it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The machine gives no random numbers.
    #[error("no key could be made: the machine gives no random numbers")]
    Random,
}

impl SealKey {
    /// The key in a file, which must be there.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File {
            path: path.to_owned(),
            source,
        };
        let about = fs::metadata(path).map_err(failed)?;
        if about.mode() & OTHERS != 0 {
            let path = path.to_owned();
            return Err(KeyError::Open { path });
        }
        if about.len() > FILE_MAX_BYTES {
            let path = path.to_owned();
            return Err(KeyError::NotAKey { path });
        }
        let text = Secret::new(fs::read(path).map_err(failed)?);
        Self::of_file(text.bytes()).ok_or_else(|| KeyError::NotAKey {
            path: path.to_owned(),
        })
    }

    /// The key that a file with these bytes holds, if it does.
    pub(super) fn of_file(text: &[u8]) -> Option<Self> {
        let digits = std::str::from_utf8(text).ok().map(str::trim);
        let key = digits.and_then(bytes).map(Secret::new);
        key.and_then(|key| Self::of(&key))
    }

    /// The key in a data folder; made and put there if there is none.
    pub fn of_folder(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(KEY_FILE);
        if !path.exists() {
            let key = random_bytes().ok_or(KeyError::Random)?;
            let written = write(folder, &path, &key);
            written.map_err(|source| KeyError::File {
                path: path.clone(),
                source,
            })?;
        }
        Self::read(&path)
    }

    /// A key that is written nowhere.
    pub fn random() -> Option<Self> {
        Self::of(&random_bytes()?)
    }

    /// What records call it.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    fn of(key: &Secret) -> Option<Self> {
        let mut hash = Sha256::new();
        hash.update(b"usher-secrets-key-id\0");
        hash.update(key.bytes());
        let id = hexadecimal(&hash.finalize()[..ID_BYTES]);
        // Refuses any other length.
        let cipher = UnboundKey::new(ALGORITHM, key.bytes()).ok()?;
        let cipher = LessSafeKey::new(cipher);
        Some(Self { id, cipher })
    }
}

fn random_bytes() -> Option<Secret> {
    let mut key = vec![0; KEY_BYTES];
    SystemRandom::new().fill(&mut key).ok()?;
    Some(Secret::new(key))
}

/// Whole or not at all, and lasting before anything is sealed by it.
fn write(folder: &Path, path: &Path, key: &Secret) -> io::Result<()> {
    let new = path.with_extension("key.new");
    // What a killed platform left behind was never used.
    let _ = fs::remove_file(&new);
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let digits = Secret::new(format!("{}\n", hexadecimal(key.bytes())).into_bytes());
    file.write_all(digits.bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_keeps_its_key_and_nobody_else_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = SealKey::of_folder(folder.path()).unwrap();
        let again = SealKey::of_folder(folder.path()).unwrap();
        assert_eq!(first.id(), again.id());
        let path = folder.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&path).unwrap().contains(first.id()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = SealKey::of_folder(folder.path()).err().unwrap();
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let missing = SealKey::read(&path).err().unwrap();
        assert!(matches!(missing, KeyError::File { .. }), "{missing}");
        for text in [
            "",
            "hunter2",
            &"0".repeat(63),
            &"0".repeat(66),
            &"0".repeat(1_000),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let refused = SealKey::read(&path).err().unwrap();
            assert!(
                matches!(refused, KeyError::NotAKey { .. }),
                "{text}: {refused}"
            );
        }
        fs::write(&path, "ab".repeat(KEY_BYTES)).unwrap();
        assert!(SealKey::read(&path).is_ok());
    }
}

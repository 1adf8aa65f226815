//! What a back-up holds beside records and artifacts: files of the platform's own, which there may
//! be and how they are written, and the store of buckets.
//!
//! Deliberately absent: what is in them.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use usher_api::buckets::Buckets;
use usher_backbone::KeyValue;

/// What functions keep in buckets.
#[derive(Clone)]
pub struct BucketEntries {
    /// The store that they lie in.
    pub store: Arc<dyn KeyValue>,
    /// Who writes to it for functions, and counts what is there.
    pub counted: Arc<dyn Buckets>,
}

impl fmt::Debug for BucketEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BucketEntries(…)")
    }
}

/// Which files below which folder.
#[derive(Clone, Debug, Default)]
pub struct OwnFiles {
    folder: PathBuf,
    names: Vec<String>,
}

impl OwnFiles {
    /// The files of these names below `folder`; each name is one that stays below it.
    pub fn below(folder: &Path, names: &[&str]) -> Self {
        Self {
            folder: folder.to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Writes a file, for its owner only, where there is none; says whether it did. It is there whole
/// or not at all.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let incoming = path.with_extension("incoming");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&incoming)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A link fails where there is a file, a rename would replace it.
    let created = match fs::hard_link(&incoming, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    fs::remove_file(&incoming)?;
    File::open(folder)?.sync_all()?;
    created
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_for_its_owner_and_never_over_another() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls/key");
        assert!(create(&path, b"one").unwrap());
        assert!(!create(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path().join("tls")).unwrap().count(), 1);
    }
}

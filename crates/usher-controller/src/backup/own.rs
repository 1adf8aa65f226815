//! What a back-up holds beside records and artifacts: files of the platform's own, and the store
//! of buckets.
//!
//! Deliberately absent: what is in them; writing such files, which no restore does.

use std::fmt;
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

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

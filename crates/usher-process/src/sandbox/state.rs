//! The folder in which a platform notes what the next one has to remove, should it be killed.
//!
//! ```text
//! platform.lock   held by the platform alone: nobody else uses this folder
//! sandboxes.lock  held by spawner and sandboxes: free again when the last of them has gone
//! groups.json     folders of control groups, written before they are made
//! root/           where the spawner mounts the root, in its own view; always empty
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::errors::OpenError;
use super::{groups, root};

/// How long the sandboxes of a killed platform may take to end.
const LEFT_WAIT_MAX_MS: u64 = 10_000;

/// The folder, locked.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
    /// Held as long as this platform lives.
    _platform: File,
}

impl State {
    /// Takes the folder, waits until a killed platform's sandboxes have ended, and removes what
    /// they left.
    pub(super) async fn take(folder: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::State {
            folder: folder.to_owned(),
            source,
        };
        fs::create_dir_all(root::place(folder)).map_err(failed)?;
        let platform = lock_file(&folder.join("platform.lock")).map_err(failed)?;
        match flock(&platform, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::InUse(folder.to_owned()));
            }
            other => other.map_err(|error| failed(error.into()))?,
        }
        let state = Self {
            folder: folder.to_owned(),
            _platform: platform,
        };
        // Waits for the last process of the platform before, if there is one.
        drop(state.sandboxes_lock().await?);
        for left in state.noted() {
            groups::remove(&left);
        }
        Ok(state)
    }

    /// The lock that spawner and sandboxes hold; it is theirs once this is dropped here.
    pub(super) async fn sandboxes_lock(&self) -> Result<OwnedFd, OpenError> {
        let failed = |source| OpenError::State {
            folder: self.folder.clone(),
            source,
        };
        let path = self.folder.join("sandboxes.lock");
        let lock = lock_file(&path).map_err(failed)?;
        let waited = tokio::task::spawn_blocking(move || {
            rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
            Ok::<_, io::Error>(lock)
        });
        match tokio::time::timeout(Duration::from_millis(LEFT_WAIT_MAX_MS), waited).await {
            Err(_) => Err(OpenError::Left(self.folder.clone())),
            Ok(Ok(locked)) => Ok(locked.map_err(failed)?.into()),
            Ok(Err(lost)) => Err(failed(io::Error::other(lost))),
        }
    }

    /// Notes which groups are about to be made.
    pub(super) fn note(&self, groups: &[PathBuf]) -> io::Result<()> {
        let mut all = self.noted();
        all.retain(|folder| folder.is_dir());
        all.extend_from_slice(groups);
        fs::write(self.notes(), serde_json::to_vec(&all)?)
    }

    fn noted(&self) -> Vec<PathBuf> {
        let noted = fs::read(self.notes()).unwrap_or_default();
        serde_json::from_slice(&noted).unwrap_or_default()
    }

    fn notes(&self) -> PathBuf {
        self.folder.join("groups.json")
    }

    /// Where the spawner mounts the root.
    pub(super) fn place(&self) -> PathBuf {
        root::place(&self.folder)
    }

    /// A name for this platform, which no other one on this machine has.
    pub(super) fn instance(&self) -> io::Result<String> {
        use std::os::unix::fs::MetadataExt as _;
        let about = fs::metadata(&self.folder)?;
        Ok(format!("{:x}-{:x}", about.dev(), about.ino()))
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

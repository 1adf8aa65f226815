//! One owner per data folder: an advisory lock on `lock`, which also names the owner.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use super::OpenError;

/// Holds the folder until dropped; the kernel lets go of it if the process dies.
pub(super) struct FolderLock {
    file: File,
}

impl FolderLock {
    pub(super) fn take(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join("lock");
        let io = |source| OpenError::Io {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    folder: folder.to_owned(),
                    pid: owner(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        sign(&mut file).map_err(io)?;
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing would do, were it not for a child that another thread is just starting: until
        // it executes it shares the lock, and a new owner would be refused.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the data folder's lock was not given back");
        }
    }
}

fn sign(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}

fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

//! The folders of all bundles that this machine runs.
//!
//! ```text
//! <folder>/<boot>/<digest>/…      a whole bundle
//! <folder>/<boot>/.new-…/…        one that is being written
//! <folder>/<boot>/.old-…/…        one that is being removed
//! ```
//!
//! A folder gets its digest's name when it is whole, and loses it before it is removed. What a
//! killed platform leaves under the other names is removed at the next start. A power cut may lose
//! bytes of a file whose name is there; that the machine was started anew shows in the boot's id,
//! and then all are unpacked again from the artifacts. So nothing has to wait for the disk.
//!
//! Deliberately absent: the artifacts, and when a bundle is not needed any more.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use usher_core::id::Digest;

use super::unpack::unpack;
use super::{Bounds, BundleError};

/// Changes whenever the machine is started.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// In the place of the boot's id where there is none.
const BOOT_UNKNOWN: &str = "unknown";
const PREFIX_NEW: &str = ".new-";
const PREFIX_OLD: &str = ".old-";
/// How many bundles are unpacked at the same time: it is work for one processor and one disk.
const UNPACKS_PARALLEL_MAX: usize = 2;

/// Unpacked bundles by digest. Cheap to clone; one for each folder.
#[derive(Clone, Debug)]
pub struct Bundles {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Of this boot.
    folder: PathBuf,
    bounds: Bounds,
    permits: Arc<Semaphore>,
}

/// The folder of an unpacked bundle. It stays until [`Bundles::forget`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: Arc<Path>,
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Why the folder for bundles cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the folder for bundles, {}, cannot be used", folder.display())]
pub struct OpenError {
    folder: PathBuf,
    #[source]
    source: io::Error,
}

impl Bundles {
    /// Opens the folder, makes it if it is not there, and removes what a killed platform or an
    /// earlier boot has left. Blocks. The folder is this platform's alone.
    pub fn open(folder: &Path, bounds: Bounds) -> Result<Self, OpenError> {
        Self::open_at_boot(folder, bounds, boot())
    }

    fn open_at_boot(folder: &Path, bounds: Bounds, boot: String) -> Result<Self, OpenError> {
        let failed = |source| OpenError {
            folder: folder.to_owned(),
            source,
        };
        let ours = folder.join(&boot);
        clean(folder, &boot).map_err(failed)?;
        make(&ours).map_err(failed)?;
        let inner = Inner {
            folder: ours,
            bounds,
            permits: Arc::new(Semaphore::new(UNPACKS_PARALLEL_MAX)),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The folder of a bundle: unpacked now, unless it is there already.
    ///
    /// `digest` is that of `bundle`, which the caller has checked.
    pub async fn unpack(&self, bundle: Bytes, digest: Digest) -> Result<Folder, BundleError> {
        let permit = self.inner.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|error| BundleError::Failed(error.to_string()))?;
        let inner = self.inner.clone();
        let work = tokio::task::spawn_blocking(move || {
            // Held by the work itself, which goes on when nobody waits for it any more.
            let _permit = permit;
            inner.unpack(&bundle, digest)
        });
        let done = work.await;
        done.map_err(|error| BundleError::Failed(error.to_string()))?
    }

    /// Removes a bundle's folder, if there is one. Blocks. No program may run in it any more.
    pub fn forget(&self, digest: Digest) -> io::Result<()> {
        let path = self.inner.path(digest);
        let old = tempfile::Builder::new()
            .prefix(PREFIX_OLD)
            .tempdir_in(&self.inner.folder)?;
        match fs::rename(&path, old.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => old.close(),
        }
    }
}

impl Inner {
    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    fn unpack(&self, bundle: &[u8], digest: Digest) -> Result<Folder, BundleError> {
        let path = self.path(digest);
        let whole = Folder {
            path: path.as_path().into(),
        };
        if path.is_dir() {
            return Ok(whole);
        }
        let failed = |source| BundleError::Io {
            at: path.display().to_string(),
            source,
        };
        let new = tempfile::Builder::new()
            .prefix(PREFIX_NEW)
            .tempdir_in(&self.folder)
            .map_err(failed)?;
        unpack(bundle, new.path(), self.bounds)?;
        match fs::rename(new.path(), &path) {
            // It has another name now, so that there is nothing to remove.
            Ok(()) => drop(new.keep()),
            // Another call was faster, and `new` removes itself.
            Err(_) if path.is_dir() => {}
            Err(error) => return Err(failed(error)),
        }
        Ok(whole)
    }
}

/// The machine's boot, as a name of a folder.
fn boot() -> String {
    let id = fs::read_to_string(BOOT_ID).unwrap_or_default();
    match id.trim() {
        "" => BOOT_UNKNOWN.to_owned(),
        id => id.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"),
    }
}

/// Removes everything but the whole bundles of this boot.
fn clean(folder: &Path, boot: &str) -> io::Result<()> {
    for name in names(folder)? {
        if name != boot || boot == BOOT_UNKNOWN {
            remove(&folder.join(name))?;
        }
    }
    let ours = folder.join(boot);
    for name in names(&ours)? {
        if name.starts_with(PREFIX_NEW) || name.starts_with(PREFIX_OLD) {
            remove(&ours.join(name))?;
        }
    }
    Ok(())
}

/// The names in a folder; none where it is not there.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let name = |entry: io::Result<fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    entries.map(name).collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    }
}

/// Readable for programs, which run as other users.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_boot_or_a_killed_platform_left_is_removed() {
        let store = tempfile::tempdir().unwrap();
        let open = |boot: &str| {
            let opened = Bundles::open_at_boot(store.path(), Bounds::default(), boot.to_owned());
            names(&opened.unwrap().inner.folder).unwrap()
        };
        assert!(open("one").is_empty());
        for left in ["one/aa/f", "one/.new-x/f", "one/.old-x/f"] {
            let path = store.path().join(left);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        assert_eq!(open("one"), ["aa"]);
        assert!(open("two").is_empty());
        assert_eq!(names(store.path()).unwrap(), ["two"]);
        // Nobody knows what happened meanwhile.
        open(BOOT_UNKNOWN);
        fs::create_dir(store.path().join(BOOT_UNKNOWN).join("aa")).unwrap();
        assert!(open(BOOT_UNKNOWN).is_empty());
    }

    #[test]
    fn this_machine_has_a_boot_id() {
        assert_ne!(boot(), BOOT_UNKNOWN);
        assert_eq!(boot(), boot());
    }
}

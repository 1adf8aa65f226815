//! Unpacked bundles that images are made of: each is there once, and goes with its last image.
//!
//! Deliberately absent: unpacking (`bundle`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use usher_core::id::Digest;

use crate::bundle::{BundleError, Bundles, Folder};

/// The folders that are in use, by digest.
pub(crate) struct Folders {
    bundles: Bundles,
    used: Used,
}

type Used = Arc<Mutex<HashMap<Digest, Weak<Shared>>>>;

/// A folder that is in use. The last one that is dropped has it removed.
pub(crate) struct Shared {
    folder: Folder,
    digest: Digest,
    bundles: Bundles,
    used: Used,
    runtime: Handle,
}

impl Folders {
    /// Those of a store of bundles.
    pub(crate) fn new(bundles: Bundles) -> Self {
        Self {
            bundles,
            used: Used::default(),
        }
    }

    /// The folder of a bundle: the one that is in use, or one that is unpacked now.
    pub(crate) async fn of(
        &self,
        bundle: Bytes,
        digest: Digest,
    ) -> Result<Arc<Shared>, BundleError> {
        // Held while it is unpacked, so that none is removed which has just been found.
        let mut used = self.used.lock().await;
        if let Some(folder) = used.get(&digest).and_then(Weak::upgrade) {
            return Ok(folder);
        }
        let folder = Arc::new(Shared {
            folder: self.bundles.unpack(bundle, digest).await?,
            digest,
            bundles: self.bundles.clone(),
            used: Arc::clone(&self.used),
            runtime: Handle::current(),
        });
        used.insert(digest, Arc::downgrade(&folder));
        Ok(folder)
    }
}

impl Shared {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let (bundles, used) = (self.bundles.clone(), Arc::clone(&self.used));
        let digest = self.digest;
        self.runtime.spawn_blocking(move || {
            let mut used = used.blocking_lock();
            // Somebody may have had it unpacked anew before this task had its turn.
            if used.get(&digest).is_some_and(|it| it.strong_count() > 0) {
                return;
            }
            used.remove(&digest);
            if let Err(error) = bundles.forget(digest) {
                tracing::warn!(%error, "the folder of a bundle was not removed");
            }
        });
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::bundle::pack;

    #[tokio::test]
    async fn a_folder_is_shared_and_goes_with_its_last_user() {
        let (source, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(source.path().join("server"), "text").unwrap();
        let bundle = pack(source.path(), Default::default()).unwrap().bytes;
        let folders = Folders::new(Bundles::open(store.path(), Default::default()).unwrap());
        let digest = Digest([7; 32]);
        let one = folders.of(bundle.clone(), digest).await.unwrap();
        let other = folders.of(bundle.clone(), digest).await.unwrap();
        assert!(Arc::ptr_eq(&one, &other));
        let path = one.path().to_owned();
        drop(one);
        assert!(path.is_dir(), "the other user still has it");
        drop(other);
        // The removal takes the lock as the next user does, so it has had its turn or comes later.
        while path.exists() {
            tokio::task::yield_now().await;
        }
        let again = folders.of(bundle, digest).await.unwrap();
        assert!(again.path().join("server").is_file());
    }
}

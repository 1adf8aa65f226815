//! The embedded backbone: one process, one folder.
//!
//! ```text
//!   get, list, watch ──► mirror (all entries in memory, and the last changes)
//!                          ▲ publish, once it is on the disk
//!   apply ──► queue ──► writer thread ──► store.redb      one fsynced transaction per group
//!   put_blob ──► incoming/N ──fsync, rename, fsync──► blobs/DIGEST
//! ```
//!
//! Reads never touch the disk, so that a full or failing disk does not stop what already runs.
//! The folder also holds `lock`, with the process id of its owner.
//!
//! Deliberately absent: other processes. A second one that opens the folder is refused.

mod blob_folder;
mod folder_lock;
mod mirror;
mod store;
#[cfg(test)]
mod tests;
mod watcher;
mod writer;

use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot, watch};
use usher_core::id::Digest;

use crate::blobs::{Blob, BlobSource, Blobs, GetBlobError, PutBlobError};
use crate::key::{check_key, check_prefix};
use crate::key_value::{
    Change, Entry, KeyValue, Listing, Op, ReadError, Watch, WatchAfterError, WriteError,
};
use blob_folder::BlobFolder;
use folder_lock::FolderLock;
use mirror::Mirror;
use store::Store;
use watcher::Watcher;
use writer::{Request, Writer};

/// Bounds of an embedded backbone.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest value. The default fits a NATS message with its headers.
    pub value_max_bytes: usize,
    /// Most ops in one batch.
    pub batch_max_ops: usize,
    /// All keys and values of one batch together.
    pub batch_max_bytes: usize,
    /// All entries together, which are also held in memory.
    pub store_max_bytes: usize,
    /// How many batches wait for the writer before a write waits for room in the queue.
    pub writes_queued_max: usize,
    /// How many changes a watcher can be behind before it is spared what is out of date.
    pub watch_log_max_ops: usize,
    /// How many bytes those changes may hold in memory.
    pub watch_log_max_bytes: usize,
    /// Largest blob.
    pub blob_max_bytes: u64,
    /// How many blobs come in at the same time; further ones wait.
    pub blobs_incoming_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            value_max_bytes: 512 << 10,
            batch_max_ops: 64,
            batch_max_bytes: 4 << 20,
            store_max_bytes: 256 << 20,
            writes_queued_max: 64,
            watch_log_max_ops: 4_096,
            watch_log_max_bytes: 8 << 20,
            blob_max_bytes: 256 << 20,
            blobs_incoming_max: 16,
        }
    }
}

/// Why a data folder was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another backbone has it open.
    #[error("the data folder {} is in use{}: stop that one, or take another folder",
        folder.display(), by(pid.as_ref()))]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Who uses it, if that could be read.
        pid: Option<u32>,
    },
    /// A later Usher wrote it.
    #[error("{} has format {found}, this Usher knows {known}: use a newer one", store.display())]
    NewerFormat {
        /// The store's file.
        store: PathBuf,
        /// The format it has.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// The folder or a file in it cannot be used.
    #[error("{} cannot be opened", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn by(pid: Option<&u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

/// What readers share with the writer.
struct Shared {
    mirror: RwLock<Mirror>,
    /// The last published revision, to wake watchers; closed when the writer ends.
    published: watch::Receiver<u64>,
}

/// A backbone in a folder of this machine. Dropping it finishes what is queued, ends all watches
/// and frees the folder.
pub struct Embedded {
    shared: Arc<Shared>,
    blobs: BlobFolder,
    limits: Limits,
    /// Both are `Some` until the drop.
    writes: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Last, so that the folder is free only when nothing writes to it any more.
    _lock: FolderLock,
}

impl Embedded {
    /// Opens `folder`, which is created (for its owner only) if it is not there.
    ///
    /// Blocks on the disk, and reads all entries into memory.
    pub fn open(folder: &Path, limits: Limits) -> Result<Self, OpenError> {
        let broken = |source| OpenError::Io {
            path: folder.to_owned(),
            source,
        };
        create_folder(folder).map_err(broken)?;
        let lock = FolderLock::take(folder)?;
        let blobs = BlobFolder::open(folder, &limits).map_err(broken)?;
        let path = folder.join("store.redb");
        let (store, loaded) =
            Store::open(store::file_opener(path.clone())).map_err(|error| error.at(path))?;
        // The names of the new files must be as lasting as what is written into them.
        sync_folder(folder).map_err(broken)?;
        Self::start(lock, blobs, store, loaded, limits).map_err(broken)
    }

    fn start(
        lock: FolderLock,
        blobs: BlobFolder,
        store: Store,
        loaded: store::Loaded,
        limits: Limits,
    ) -> io::Result<Self> {
        let (wake, published) = watch::channel(loaded.revision);
        let shared = Arc::new(Shared {
            mirror: RwLock::new(Mirror::new(loaded, &limits)),
            published,
        });
        let (writes, requests) = mpsc::channel(limits.writes_queued_max);
        let writer = Writer::new(store, shared.clone(), wake);
        let writer = std::thread::Builder::new()
            .name("usher-backbone".into())
            .spawn(move || writer.run(requests))?;
        Ok(Self {
            shared,
            blobs,
            limits,
            writes: Some(writes),
            writer: Some(writer),
            _lock: lock,
        })
    }

    /// What can be said of a batch without looking at the store.
    fn check(&self, batch: &[Op]) -> Result<(), WriteError> {
        let max_ops = self.limits.batch_max_ops;
        if batch.is_empty() || batch.len() > max_ops {
            let ops = batch.len();
            return Err(WriteError::BatchLength { ops, max_ops });
        }
        let mut keys = HashSet::new();
        let mut batch_bytes = 0;
        for op in batch {
            check_key(&op.key)?;
            if !keys.insert(&op.key) {
                let key = op.key.clone();
                return Err(WriteError::DuplicateKey { key });
            }
            let value_bytes = match &op.change {
                Change::Put(value) => value.len(),
                Change::Delete => 0,
            };
            batch_bytes += op.key.len() + value_bytes;
            for (bytes, max_bytes) in [
                (value_bytes, self.limits.value_max_bytes),
                (batch_bytes, self.limits.batch_max_bytes),
            ] {
                if bytes > max_bytes {
                    let key = op.key.clone();
                    return Err(WriteError::TooLarge {
                        key,
                        bytes,
                        max_bytes,
                    });
                }
            }
        }
        Ok(())
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the backbone's writer had panicked");
        }
    }
}

#[async_trait]
impl KeyValue for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError> {
        check_key(key)?;
        Ok(self.shared.mirror.read().get(key))
    }

    async fn list(&self, prefix: &str) -> Result<Listing, ReadError> {
        check_prefix(prefix)?;
        Ok(self.shared.mirror.read().list(prefix))
    }

    async fn watch(&self, prefix: &str) -> Result<Watch, ReadError> {
        check_prefix(prefix)?;
        Ok(Watcher::from_the_start(self.shared.clone(), prefix).into_stream())
    }

    async fn watch_after(&self, prefix: &str, revision: u64) -> Result<Watch, WatchAfterError> {
        check_prefix(prefix).map_err(ReadError::from)?;
        Ok(Watcher::after(self.shared.clone(), prefix, revision)?.into_stream())
    }

    async fn apply(&self, batch: Vec<Op>) -> Result<u64, WriteError> {
        self.check(&batch)?;
        let writes = self.writes.as_ref().ok_or(WriteError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let sent = writes.send(Request { batch, reply }).await;
        sent.map_err(|_| WriteError::Closed)?;
        answer.await.unwrap_or_else(|_| {
            let error = io::Error::other("the writer ended before it answered");
            Err(WriteError::Io(Arc::new(error)))
        })
    }
}

#[async_trait]
impl Blobs for Embedded {
    async fn put_blob(&self, source: BlobSource) -> Result<Blob, PutBlobError> {
        self.blobs.put(source).await
    }

    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>, GetBlobError> {
        self.blobs.get(*digest).await
    }

    async fn has_blob(&self, digest: &Digest) -> io::Result<bool> {
        self.blobs.has(digest).await
    }

    async fn delete_blob(&self, digest: &Digest) -> io::Result<bool> {
        self.blobs.delete(digest).await
    }

    async fn list_blobs(&self) -> io::Result<Vec<Blob>> {
        self.blobs.list().await
    }
}

/// Creates `folder` and what is above it, if it is not there; nobody but its owner may look in,
/// for values can be secrets.
fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_folder(parent)?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    sync_folder(parent)
}

/// Makes the names in `folder` lasting.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Says whether a failed write only lacked room.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

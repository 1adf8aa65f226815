//! Blobs as files: `blobs/DIGEST`, and `incoming/N` while one is on its way in.
//!
//! ```text
//!   incoming/N ──fsync──► whole ──rename──► blobs/DIGEST ──fsync of the folder──► acknowledged
//! ```
//!
//! A rename is all or nothing, so no crash leaves half a blob under a digest. What a crash leaves
//! in `incoming` goes at the next opening.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::stream::StreamExt;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use usher_core::id::Digest;

use super::{Limits, create_folder, is_full, sync_folder};
use crate::blobs::{Blob, BlobSource, GetBlobError, PutBlobError};

pub(super) struct BlobFolder {
    blobs: Arc<Path>,
    incoming: PathBuf,
    incoming_next: AtomicU64,
    permits: Semaphore,
    blob_max_bytes: u64,
}

impl BlobFolder {
    pub(super) fn open(folder: &Path, limits: &Limits) -> io::Result<Self> {
        let blobs = folder.join("blobs");
        let incoming = folder.join("incoming");
        create_folder(&blobs)?;
        create_folder(&incoming)?;
        for left in fs::read_dir(&incoming)? {
            fs::remove_file(left?.path())?;
        }
        Ok(Self {
            blobs: blobs.into(),
            incoming,
            incoming_next: AtomicU64::new(0),
            permits: Semaphore::new(limits.blobs_incoming_max),
            blob_max_bytes: limits.blob_max_bytes,
        })
    }

    pub(super) async fn put(&self, mut source: BlobSource) -> Result<Blob, PutBlobError> {
        let closed = |_| PutBlobError::Io(io::Error::other("the backbone is closed"));
        let _permit = self.permits.acquire().await.map_err(closed)?;
        let number = self.incoming_next.fetch_add(1, Ordering::Relaxed);
        let incoming = Incoming(self.incoming.join(number.to_string()));
        let mut file = tokio::fs::File::create_new(&incoming.0)
            .await
            .map_err(put_error)?;
        let mut hash = Sha256::new();
        let mut bytes = 0;
        while let Some(chunk) = source.next().await {
            let chunk = chunk.map_err(PutBlobError::Source)?;
            bytes += chunk.len() as u64;
            if bytes > self.blob_max_bytes {
                let max_bytes = self.blob_max_bytes;
                return Err(PutBlobError::TooLarge { max_bytes });
            }
            hash.update(&chunk);
            file.write_all(&chunk).await.map_err(put_error)?;
        }
        file.flush().await.map_err(put_error)?;
        let file = file.into_std().await;
        let digest = Digest(hash.finalize().into());
        let folder = self.blobs.clone();
        let seal = move || seal(&file, &incoming, &folder, digest);
        let stored = blocking(seal).await.map_err(put_error)?;
        Ok(Blob {
            digest,
            bytes,
            stored,
        })
    }

    pub(super) async fn get(&self, digest: Digest) -> Result<Option<Bytes>, GetBlobError> {
        let path = self.path(&digest);
        let max_bytes = self.blob_max_bytes;
        let read = blocking(move || {
            let bytes = read(&path, max_bytes)?;
            Ok(bytes.map(|bytes| (Digest(Sha256::digest(&bytes).into()), bytes)))
        });
        match read.await.map_err(GetBlobError::Io)? {
            Some((found, _)) if found != digest => Err(GetBlobError::Damaged { digest }),
            found => Ok(found.map(|(_, bytes)| bytes.into())),
        }
    }

    pub(super) async fn has(&self, digest: &Digest) -> io::Result<bool> {
        tokio::fs::try_exists(self.path(digest)).await
    }

    pub(super) async fn delete(&self, digest: &Digest) -> io::Result<bool> {
        let path = self.path(digest);
        let folder = self.blobs.clone();
        blocking(move || match fs::remove_file(path) {
            Ok(()) => sync_folder(&folder).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) async fn list(&self) -> io::Result<Vec<Blob>> {
        let folder = self.blobs.clone();
        blocking(move || list(&folder)).await
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.to_string())
    }
}

/// A file that is removed unless it has been renamed.
struct Incoming(PathBuf);

impl Drop for Incoming {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "an unfinished blob stays until the next start");
            }
            _ => {}
        }
    }
}

/// Makes the incoming file lasting, then names it, then makes the name lasting.
fn seal(
    file: &fs::File,
    incoming: &Incoming,
    folder: &Path,
    digest: Digest,
) -> io::Result<SystemTime> {
    file.sync_all()?;
    let stored = file.metadata()?.modified()?;
    fs::rename(&incoming.0, folder.join(digest.to_string()))?;
    sync_folder(folder)?;
    Ok(stored)
}

/// Reads a blob; one that has grown beyond the bound is cut, and its digest will tell.
fn read(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    let expected = file.metadata()?.len().min(max_bytes);
    bytes.reserve_exact(usize::try_from(expected).unwrap_or(0));
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn list(folder: &Path) -> io::Result<Vec<Blob>> {
    let mut blobs = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        let Some(digest) = name.to_str().and_then(|name| name.parse::<Digest>().ok()) else {
            continue;
        };
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            // Deleted since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        blobs.push(Blob {
            digest,
            bytes: metadata.len(),
            stored: metadata.modified()?,
        });
    }
    blobs.sort_by_key(|blob| blob.digest);
    Ok(blobs)
}

fn put_error(error: io::Error) -> PutBlobError {
    if is_full(&error) {
        PutBlobError::DiskFull(error)
    } else {
        PutBlobError::Io(error)
    }
}

/// Runs what waits for the disk where it keeps nobody else waiting.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

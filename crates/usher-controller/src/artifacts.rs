//! Artifacts: storing them, and collecting those that no record names.
//!
//! An artifact comes before the record that names it, so one without a record may be on its way.
//! It is collected only if (1) no record names it, (2) it was stored longer ago than
//! `artifact_grace_s`, and (3) no deployment and no upload runs meanwhile: those hold a lock for
//! reading that the collector takes for writing, and where it is taken the collector tries again
//! next time.
//!
//! Deliberately absent: what the bytes are. The node says so when it prepares them.

use std::collections::HashSet;
use std::io;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use tokio::sync::oneshot;
use usher_api::http::ArtifactStored;
use usher_backbone::{Backbone, PutBlobError};
use usher_core::id::Digest;

use crate::controller::{Controller, Core};
use crate::records;
use crate::uploads;

/// Why an artifact was not stored. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// No bytes came.
    #[error("the artifact is empty; send the component's bytes as the body")]
    Empty,
    /// More bytes came than an artifact may have.
    #[error("an artifact has at most {artifact_max_bytes} bytes")]
    TooLarge {
        /// The bound.
        artifact_max_bytes: u64,
    },
    /// The upload stalled or broke off.
    #[error("the upload broke off")]
    Source(#[source] io::Error),
    /// The store has no room for it.
    #[error("the disk is full")]
    DiskFull(#[source] io::Error),
    /// The store failed.
    #[error("the artifact could not be stored")]
    Store(#[source] io::Error),
}

/// What marks a source's own refusal on its way through the backbone, which knows I/O errors only.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the artifact is empty")]
    Empty,
    #[error("the artifact is too large")]
    TooLarge,
}

impl Controller {
    /// Stores an artifact as it streams in. Returns when it is on disk.
    pub async fn put_artifact(
        &self,
        source: BoxStream<'static, io::Result<Bytes>>,
    ) -> Result<ArtifactStored, UploadError> {
        let core = &self.core;
        let _artifacts = core.artifacts.read().await;
        let artifact_max_bytes = core.options.artifact_max_bytes;
        let (existed, known) = oneshot::channel();
        let backbone = Arc::clone(&core.backbone);
        let metered = metered(source, artifact_max_bytes, backbone, existed);
        let blob = core
            .backbone
            .put_blob(metered)
            .await
            .map_err(|error| match error {
                PutBlobError::TooLarge { max_bytes } => UploadError::TooLarge {
                    artifact_max_bytes: max_bytes,
                },
                PutBlobError::Source(error) => match error.get_ref().and_then(|e| e.downcast_ref())
                {
                    Some(Refusal::Empty) => UploadError::Empty,
                    Some(Refusal::TooLarge) => UploadError::TooLarge { artifact_max_bytes },
                    None => UploadError::Source(error),
                },
                PutBlobError::DiskFull(error) => UploadError::DiskFull(error),
                PutBlobError::Io(error) => UploadError::Store(error),
            })?;
        Ok(ArtifactStored {
            digest: blob.digest,
            bytes: blob.bytes,
            existed: known.await.unwrap_or(false),
        })
    }
}

/// The source with its bound, and with a look whether the artifact is stored already, at the one
/// moment when its digest is known and it is not stored yet.
fn metered(
    source: BoxStream<'static, io::Result<Bytes>>,
    max_bytes: u64,
    backbone: Arc<dyn Backbone>,
    existed: oneshot::Sender<bool>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let begin = (source, Sha256::new(), 0_u64, existed);
    stream::try_unfold(
        begin,
        move |(mut source, mut hasher, mut bytes, existed)| {
            let backbone = Arc::clone(&backbone);
            async move {
                match source.next().await.transpose()? {
                    Some(piece) => {
                        bytes = bytes.saturating_add(piece.len() as u64);
                        if bytes > max_bytes {
                            return Err(io::Error::other(Refusal::TooLarge));
                        }
                        hasher.update(&piece);
                        Ok(Some((piece, (source, hasher, bytes, existed))))
                    }
                    None if bytes == 0 => Err(io::Error::other(Refusal::Empty)),
                    None => {
                        let digest = Digest(hasher.finalize().into());
                        // Nobody waits for the answer any more where the upload was given up.
                        let _ = existed.send(backbone.has_blob(&digest).await.unwrap_or(false));
                        Ok(None)
                    }
                }
            }
        },
    )
    .boxed()
}

impl Core {
    /// Removes the artifacts that nothing needs any more; says how many, or none where deployments
    /// or uploads run just now.
    pub(crate) async fn collect(&self) -> io::Result<Option<usize>> {
        let Ok(_artifacts) = self.artifacts.try_write() else {
            return Ok(None);
        };
        let named = self.named().await?;
        let grace = Duration::from_secs(self.options.artifact_grace_s);
        let mut removed = HashSet::new();
        for blob in self.backbone.list_blobs().await? {
            // A time to come is a clock that was put back: its age is not known, so it stays.
            let age = SystemTime::now().duration_since(blob.stored);
            let old = age.is_ok_and(|age| age >= grace);
            if old
                && !named.contains(&blob.digest)
                && self.backbone.delete_blob(&blob.digest).await?
            {
                removed.insert(blob.digest);
            }
        }
        uploads::forget(&*self.backbone, &removed).await?;
        Ok(Some(removed.len()))
    }

    /// The artifacts that records name. One record that cannot be read stops the collection: nobody
    /// knows what it names.
    async fn named(&self) -> io::Result<HashSet<Digest>> {
        let all = records::all(&*self.backbone)
            .await
            .map_err(io::Error::other)?;
        all.into_iter()
            .map(|kept| Ok(kept.map_err(io::Error::other)?.record.current.artifact))
            .collect()
    }
}

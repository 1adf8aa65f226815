//! Where a node gets the bytes of an artifact that it has not loaded yet.

use std::sync::Arc;

use bytes::Bytes;
use usher_api::invoke::BoxFuture;
use usher_backbone::Blobs;
use usher_core::id::Digest;

/// Why an artifact was not had.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Nobody has it.
    #[error("there is no artifact {0}")]
    Missing(Digest),
    /// It could not be read.
    #[error("artifact {digest} could not be read")]
    Unreadable {
        /// Which.
        digest: Digest,
        /// Why.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Gives artifacts by digest.
pub trait ArtifactSource: Send + Sync + 'static {
    /// The artifact's bytes. The node compares them with the digest itself.
    fn fetch(&self, digest: Digest) -> BoxFuture<'_, Result<Bytes, ArtifactError>>;
}

/// The blobs of a backbone.
impl<B: Blobs + ?Sized> ArtifactSource for Arc<B> {
    fn fetch(&self, digest: Digest) -> BoxFuture<'_, Result<Bytes, ArtifactError>> {
        Box::pin(async move {
            match self.get_blob(&digest).await {
                Ok(Some(bytes)) => Ok(bytes),
                Ok(None) => Err(ArtifactError::Missing(digest)),
                Err(cause) => Err(ArtifactError::Unreadable {
                    digest,
                    cause: Box::new(cause),
                }),
            }
        })
    }
}

//! The bytes of an artifact, fetched when they are needed: an engine that has made its image of
//! them before does not look at them again.
//!
//! Deliberately absent: where they come from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use usher_api::node::PrepareFault;

type Fetching = Pin<Box<dyn Future<Output = Result<Bytes, PrepareFault>> + Send>>;

/// An artifact that may still have to be fetched. Whoever makes one sees to it that the bytes are
/// those of the revision's digest.
pub struct Artifact(Fetching);

impl Artifact {
    /// One that is fetched by awaiting this.
    pub fn new(
        fetching: impl Future<Output = Result<Bytes, PrepareFault>> + Send + 'static,
    ) -> Self {
        Self(Box::pin(fetching))
    }

    /// The bytes.
    ///
    /// # Errors
    /// If they cannot be had.
    pub async fn bytes(self) -> Result<Bytes, PrepareFault> {
        self.0.await
    }
}

impl From<Bytes> for Artifact {
    fn from(bytes: Bytes) -> Self {
        Self::new(std::future::ready(Ok(bytes)))
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Artifact")
    }
}

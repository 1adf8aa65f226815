//! The blob half of a backbone: immutable bytes under their SHA-256 digest.
//!
//! Deliberately absent: names and references. Who refers to a blob is written in the key-value
//! half, and whoever collects garbage compares the two; [`Blob::stored`] lets it spare the blob of
//! a deployment whose record is still to be written.

use std::io;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use usher_core::id::Digest;

/// The bytes of a blob on their way in. An error ends the blob, and nothing of it stays.
pub type BlobSource = BoxStream<'static, io::Result<Bytes>>;

/// A [`BlobSource`] of bytes that are all there.
pub fn whole(bytes: impl Into<Bytes>) -> BlobSource {
    let bytes = bytes.into();
    stream::once(async move { Ok(bytes) }).boxed()
}

/// What is known of a stored blob without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The SHA-256 digest of its bytes, and its only name.
    pub digest: Digest,
    /// How many bytes.
    pub bytes: u64,
    /// When it was last put.
    pub stored: SystemTime,
}

/// Why a blob was not stored. Nothing of it stays.
#[derive(Debug, thiserror::Error)]
pub enum PutBlobError {
    /// More bytes came than a blob may have.
    #[error("the blob has more than {max_bytes} bytes")]
    TooLarge {
        /// The bound.
        max_bytes: u64,
    },
    /// Its source failed.
    #[error("the blob's source failed")]
    Source(#[source] io::Error),
    /// The disk has no room.
    #[error("the disk is full")]
    DiskFull(#[source] io::Error),
    /// The disk or the connection failed.
    #[error("the blob could not be stored")]
    Io(#[source] io::Error),
}

/// Why a blob was not read.
#[derive(Debug, thiserror::Error)]
pub enum GetBlobError {
    /// Its bytes do not have its digest any more; putting it again heals it.
    #[error("blob {digest} is damaged: its bytes have another digest")]
    Damaged {
        /// The digest that was asked for.
        digest: Digest,
    },
    /// The disk or the connection failed.
    #[error("the blob could not be read")]
    Io(#[source] io::Error),
}

/// Bytes under their digest. A blob is there whole or not at all, and one whose put has returned
/// `Ok` survives the death of the process and of the machine.
#[async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// Stores all that `source` yields. Putting what is there already is allowed, renews
    /// [`Blob::stored`] and heals damage.
    async fn put_blob(&self, source: BlobSource) -> Result<Blob, PutBlobError>;

    /// The bytes, checked against the digest; `None` if there is no such blob.
    async fn get_blob(&self, digest: &Digest) -> Result<Option<Bytes>, GetBlobError>;

    /// Says whether the blob is there, without reading it.
    async fn has_blob(&self, digest: &Digest) -> io::Result<bool>;

    /// Removes the blob; says whether it was there.
    async fn delete_blob(&self, digest: &Digest) -> io::Result<bool>;

    /// All blobs, by digest.
    async fn list_blobs(&self) -> io::Result<Vec<Blob>>;
}

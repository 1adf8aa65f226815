//! Which owner has stored which artifact.
//!
//! Artifacts are kept once, by digest, whoever stored them. Who only knows a digest has no right to
//! the bytes, so a key that speaks for one owner can deploy what was stored for that owner, and is
//! told of nothing else whether it is there.
//!
//! Deliberately absent: the artifacts themselves (`artifacts`).

use std::collections::HashSet;
use std::io;

use bytes::Bytes;
use usher_api::access::{UPLOADS_PREFIX, upload_entry};
use usher_backbone::{Backbone, ReadError, WriteError};
use usher_core::id::{Digest, Name};

/// Whether this was stored for the owner.
pub(crate) async fn has(
    backbone: &dyn Backbone,
    owner: &Name,
    artifact: &Digest,
) -> Result<bool, ReadError> {
    let entry = backbone.get(&upload_entry(owner, artifact)).await?;
    Ok(entry.is_some())
}

/// Notes that this was stored for the owner. Says whether it had been before.
pub(crate) async fn note(
    backbone: &dyn Backbone,
    owner: &Name,
    artifact: &Digest,
) -> Result<bool, WriteError> {
    let entry = upload_entry(owner, artifact);
    match backbone.create(&entry, Bytes::from("{}")).await {
        Ok(_) => Ok(false),
        Err(WriteError::Conflict { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Forgets for whom artifacts were stored that are there no more.
pub(crate) async fn forget(backbone: &dyn Backbone, gone: &HashSet<Digest>) -> io::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let listing = backbone.list(UPLOADS_PREFIX).await;
    for entry in listing.map_err(io::Error::other)?.entries {
        let digest = entry.key.rsplit('.').next();
        let digest = digest.and_then(|digest| digest.parse().ok());
        if digest.is_some_and(|digest| gone.contains(&digest)) {
            let deleted = backbone.delete(&entry.key, Some(entry.revision)).await;
            deleted.map_err(io::Error::other)?;
        }
    }
    Ok(())
}

//! Owners: their quotas as records, and the one of them that is held here, on the number of
//! functions.
//!
//! Deliberately absent: concurrency, rate (the gateway) and memory (the node).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use usher_api::access::{OWNERS_PREFIX, OwnerView, owner_entry};
use usher_api::record;
use usher_backbone::{Backbone, ReadError, WriteError};
use usher_core::id::Name;
use usher_core::owner::{OwnerRecord, Quotas};

use crate::controller::{Follower, now_us};
use crate::keys::all_followed;

/// Why quotas were not set or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    /// They make no sense.
    #[error("{0}")]
    Mistake(&'static str),
    /// They could not be read.
    #[error("the owners could not be read")]
    Read(#[from] ReadError),
    /// They could not be stored.
    #[error("the owner's quotas could not be stored")]
    Write(#[from] WriteError),
    /// They are stored, and not yet known to everybody.
    #[error("the quotas are stored, but a gateway or node did not learn of them in time")]
    NotFollowed,
}

/// What an owner may have at once. A record that cannot be read bounds nothing, and is told.
pub(crate) async fn quotas(backbone: &dyn Backbone, owner: &Name) -> Result<Quotas, ReadError> {
    let Some(entry) = backbone.get(&owner_entry(owner)).await? else {
        return Ok(Quotas::NONE);
    };
    match serde_json::from_slice::<OwnerRecord>(&entry.value) {
        Ok(record) => Ok(record.quotas),
        Err(error) => {
            tracing::error!(key = %entry.key, %error, "the record of an owner cannot be read");
            Ok(Quotas::NONE)
        }
    }
}

/// How many functions an owner has.
pub(crate) async fn functions(backbone: &dyn Backbone, owner: &Name) -> Result<usize, ReadError> {
    let listing = backbone.list(&record::owner_prefix(owner)).await?;
    Ok(listing.entries.len())
}

/// One owner as it stands.
pub(crate) async fn show(backbone: &dyn Backbone, owner: Name) -> Result<OwnerView, OwnerError> {
    Ok(OwnerView {
        quotas: quotas(backbone, &owner).await?,
        functions: functions(backbone, &owner).await?,
        owner,
    })
}

/// All that have functions or quotas, by name.
pub(crate) async fn list(backbone: &dyn Backbone) -> Result<Vec<OwnerView>, OwnerError> {
    let mut counts: BTreeMap<Name, usize> = BTreeMap::new();
    for entry in backbone.list(record::FUNCTIONS_PREFIX).await?.entries {
        let owner = entry.key.split('.').nth(1);
        if let Some(owner) = owner.and_then(|owner| owner.parse().ok()) {
            *counts.entry(owner).or_default() += 1;
        }
    }
    for entry in backbone.list(OWNERS_PREFIX).await?.entries {
        let owner = entry.key.strip_prefix(OWNERS_PREFIX);
        if let Some(owner) = owner.and_then(|owner| owner.parse().ok()) {
            counts.entry(owner).or_default();
        }
    }
    let mut owners = Vec::with_capacity(counts.len());
    for (owner, functions) in counts {
        owners.push(OwnerView {
            quotas: quotas(backbone, &owner).await?,
            functions,
            owner,
        });
    }
    Ok(owners)
}

/// Sets all quotas of an owner. Returns when that is on disk, and everybody who holds the owner to
/// them knows.
pub(crate) async fn set(
    backbone: &dyn Backbone,
    followers: &[Follower],
    owner: Name,
    quotas: Quotas,
) -> Result<OwnerView, OwnerError> {
    if quotas.burst.is_some() && quotas.requests_per_s.is_none() {
        let mistake = "a burst means nothing without requests_per_s; give both, or none";
        return Err(OwnerError::Mistake(mistake));
    }
    if quotas.burst == Some(0) {
        let mistake = "a burst of 0 would let no request begin; requests_per_s = 0 says that";
        return Err(OwnerError::Mistake(mistake));
    }
    let key = owner_entry(&owner);
    let revision = if quotas == Quotas::NONE {
        backbone.delete(&key, None).await?
    } else {
        let record = OwnerRecord {
            owner: owner.clone(),
            quotas,
            updated_us: now_us(),
        };
        let value = serde_json::to_vec(&record).map(Bytes::from);
        let value = value.map_err(|error| WriteError::Io(Arc::new(error.into())))?;
        backbone.put(&key, value).await?
    };
    match all_followed(followers, revision).await {
        true => show(backbone, owner).await,
        false => Err(OwnerError::NotFollowed),
    }
}

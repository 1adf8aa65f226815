//! Function records in the backbone, as types.
//!
//! Deliberately absent: what a record should say (`plan`).

use bytes::Bytes;
use usher_api::record::{self, FunctionRecord};
use usher_backbone::{Backbone, Entry, ReadError, WriteError};
use usher_core::id::{Digest, FunctionKey, Name};

/// A record with the backbone's revision of it, which the next write expects.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) record: FunctionRecord,
    pub(crate) revision: u64,
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The backbone did not give it.
    #[error("a function's record could not be read")]
    Read(#[from] ReadError),
    /// Its bytes are not a record.
    #[error("the record at {key:?} is not one that this version can read")]
    Unreadable {
        /// Where it stands.
        key: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

/// The record of a function, if there is one.
pub(crate) async fn get(
    backbone: &dyn Backbone,
    function: &FunctionKey,
) -> Result<Option<Kept>, RecordError> {
    let entry = backbone.get(&record::function_key(function)).await?;
    entry.map(|entry| read(&entry)).transpose()
}

/// One page of records in the order of their keys, and whether there are more. What cannot be read
/// is left out, so that one broken record does not hide all others; the start tells it in the log.
pub(crate) async fn page(
    backbone: &dyn Backbone,
    owner: Option<&Name>,
    after: Option<&FunctionKey>,
    limit: usize,
) -> Result<(Vec<Kept>, bool), RecordError> {
    let prefix = owner.map(record::owner_prefix);
    let prefix = prefix.as_deref().unwrap_or(record::FUNCTIONS_PREFIX);
    let after = after.map(record::function_key).unwrap_or_default();
    let mut entries = backbone.list(prefix).await?.entries;
    entries.retain(|entry| *entry.key > *after);
    let more = entries.len() > limit;
    entries.truncate(limit);
    let page = entries.iter().filter_map(|entry| read(entry).ok());
    Ok((page.collect(), more))
}

/// Every record there is, or why it cannot be read.
pub(crate) async fn all(
    backbone: &dyn Backbone,
) -> Result<Vec<Result<Kept, RecordError>>, RecordError> {
    let listing = backbone.list(record::FUNCTIONS_PREFIX).await?;
    Ok(listing.entries.iter().map(read).collect())
}

/// Writes a record where none is, or over the one of `last`. Once this has returned `Ok` it is on
/// disk.
pub(crate) async fn write(
    backbone: &dyn Backbone,
    record: &FunctionRecord,
    last: Option<u64>,
) -> Result<u64, WriteError> {
    let key = record::function_key(&record.key);
    let value = serde_json::to_vec(record)
        .map(Bytes::from)
        .map_err(|error| WriteError::Io(std::sync::Arc::new(error.into())))?;
    match last {
        None => backbone.create(&key, value).await,
        Some(last) => backbone.update(&key, value, last).await,
    }
}

/// The artifacts that an entry names, which are none where it is no function's record.
pub(crate) fn artifacts_of(entry: &Entry) -> Result<Vec<Digest>, RecordError> {
    match entry.key.starts_with(record::FUNCTIONS_PREFIX) {
        true => Ok(vec![read(entry)?.record.current.artifact]),
        false => Ok(Vec::new()),
    }
}

fn read(entry: &Entry) -> Result<Kept, RecordError> {
    let record =
        serde_json::from_slice(&entry.value).map_err(|source| RecordError::Unreadable {
            key: entry.key.to_string(),
            source,
        })?;
    Ok(Kept {
        record,
        revision: entry.revision,
    })
}

//! Buckets: state that a function shares with its later runs on purpose, as engines ask for it.
//!
//! Deliberately absent: who may open which bucket (`usher_core::bucket`), and the store behind it.

use bytes::Bytes;
use usher_core::bucket::{Bucket, NotANumber, OverBound};
use usher_core::function::KeyValueGrant;

use crate::invoke::BoxFuture;

/// Entries that one batch may have. All of a batch is written, or nothing.
pub const BATCH_MAX: usize = 64;
/// Keys that one page of a listing has.
pub const PAGE_MAX_KEYS: usize = 1_000;

/// A value, and which write made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The value.
    pub value: Bytes,
    /// Rises with each write, of this key or another one.
    pub version: u64,
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The keys, in no order that means anything.
    pub keys: Vec<String>,
    /// Where the next page begins; none: this is the last one.
    pub cursor: Option<String>,
}

/// What became of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The new value is there.
    Done,
    /// Somebody else had written meanwhile; this is there now.
    Changed(Option<Held>),
}

/// Why something was not read or written. After every variant but `Unsure` nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// It does not fit.
    #[error(transparent)]
    Over(#[from] OverBound),
    /// It is not to be added to.
    #[error(transparent)]
    NotANumber(#[from] NotANumber),
    /// Too many at once.
    #[error("a batch has at most {BATCH_MAX} entries, and this one has {entries}")]
    Batch {
        /// How many.
        entries: usize,
    },
    /// The cursor is none of a listing.
    #[error("the cursor is not one that a listing gave")]
    Cursor,
    /// There is no room for it, or no store.
    #[error("the store does not take it: {0}")]
    Unavailable(String),
    /// Whether it was written is not known.
    #[error("the write failed and may or may not have happened: {0}")]
    Unsure(String),
}

/// Answers of [`Buckets`].
pub type Answer<'a, T> = BoxFuture<'a, Result<T, BucketError>>;

/// The store of buckets. What a write has answered is on the disk, and the next read of whomever
/// sees it.
pub trait Buckets: Send + Sync + 'static {
    /// The value of a key.
    fn get<'a>(&'a self, bucket: &'a Bucket, key: &'a str) -> Answer<'a, Option<Held>>;

    /// Writes all entries or none, within the bounds of `grant`; of a key that stands there twice
    /// the last value.
    fn put<'a>(
        &'a self,
        bucket: &'a Bucket,
        grant: &'a KeyValueGrant,
        entries: Vec<(String, Bytes)>,
    ) -> Answer<'a, ()>;

    /// Deletes all of the keys or none; those that are not there are no error.
    fn delete<'a>(&'a self, bucket: &'a Bucket, keys: Vec<String>) -> Answer<'a, ()>;

    /// Adds to a number, and answers the sum; none is 0.
    fn increment<'a>(
        &'a self,
        bucket: &'a Bucket,
        grant: &'a KeyValueGrant,
        key: &'a str,
        delta: i64,
    ) -> Answer<'a, i64>;

    /// Writes a value if the key is still at `version`; none: if it is still not there.
    fn swap<'a>(
        &'a self,
        bucket: &'a Bucket,
        grant: &'a KeyValueGrant,
        key: &'a str,
        version: Option<u64>,
        value: Bytes,
    ) -> Answer<'a, Swapped>;

    /// Others have written to the store behind it: the next write to a bucket counts anew what is
    /// there. Writes that are under way are waited for.
    fn others_wrote(&self) -> BoxFuture<'_, ()>;

    /// One page of keys, behind `cursor`.
    fn keys<'a>(&'a self, bucket: &'a Bucket, cursor: Option<&'a str>) -> Answer<'a, Page>;
}

//! The key-value half of a backbone: entries, expectations, batches, watches.
//!
//! Every write takes the next number of one counter for the whole bucket: its *revision* (of the
//! entry; a function's revision is another thing). A reader can therefore put any two writes in
//! order, and a writer can expect that nothing was written to a key since it looked.
//!
//! Deliberately absent: reads of old values, expiry, and conditions on keys that the batch does
//! not write; NATS has no equal for the last, and nobody needed the others.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::key::BadKey;

/// One key with its value, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key it is stored under.
    pub key: Arc<str>,
    /// Its bytes; may be empty.
    pub value: Bytes,
    /// The number of the write that made it so.
    pub revision: u64,
}

/// All entries below a prefix at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The entries, by key.
    pub entries: Vec<Entry>,
    /// The last write the listing includes; [`KeyValue::watch_after`] goes on from here.
    pub revision: u64,
}

/// What must be true of a key for its write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// The key has no entry.
    Absent,
    /// The key has an entry, and this is its revision.
    Revision(u64),
}

/// What a write does to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The entry becomes this value.
    Put(Bytes),
    /// The entry goes. Where there is none this is still a write, with a revision of its own.
    Delete,
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Which key.
    pub key: String,
    /// What happens to it.
    pub change: Change,
    /// On which condition.
    pub expect: Expect,
}

impl Op {
    /// Writes `value` whatever was there.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::new(key, Change::Put(value.into()), Expect::Any)
    }

    /// Writes `value` where nothing is.
    pub fn create(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self::new(key, Change::Put(value.into()), Expect::Absent)
    }

    /// Writes `value` over the entry of that revision.
    pub fn update(key: impl Into<String>, value: impl Into<Bytes>, last_revision: u64) -> Self {
        let expect = Expect::Revision(last_revision);
        Self::new(key, Change::Put(value.into()), expect)
    }

    /// Deletes the entry: of that revision if one is given.
    pub fn delete(key: impl Into<String>, last_revision: Option<u64>) -> Self {
        let expect = last_revision.map_or(Expect::Any, Expect::Revision);
        Self::new(key, Change::Delete, expect)
    }

    fn new(key: impl Into<String>, change: Change, expect: Expect) -> Self {
        Self {
            key: key.into(),
            change,
            expect,
        }
    }
}

/// What a watcher sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key has this entry now.
    Put(Entry),
    /// A key has no entry any more.
    Delete {
        /// Which key.
        key: Arc<str>,
        /// The write that removed it, or a later one where the watcher had fallen behind.
        revision: u64,
    },
    /// All there was at this revision has been said. Comes once in the beginning, and again
    /// each time the watcher had fallen behind and has caught up.
    Current {
        /// The last write included.
        revision: u64,
    },
}

/// A stream of [`Event`]s, which ends when the backbone closes.
pub type Watch = BoxStream<'static, Event>;

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The key or prefix cannot exist.
    #[error(transparent)]
    BadKey(#[from] BadKey),
    /// The backbone cannot be reached.
    #[error("the backbone cannot be reached")]
    Unavailable(#[source] io::Error),
}

/// Why a watch cannot go on from a revision.
#[derive(Debug, thiserror::Error)]
pub enum WatchAfterError {
    /// The backbone does not remember that far back: list anew, or use [`KeyValue::watch`].
    #[error("changes after revision {wanted} are asked for, only those after {oldest} are kept")]
    Compacted {
        /// The revision that was asked for.
        wanted: u64,
        /// The oldest one that a watch can start after.
        oldest: u64,
    },
    /// No write has that revision yet: it is from another bucket, or from a lost one.
    #[error("changes after revision {wanted} are asked for, the last write is {last}")]
    Future {
        /// The revision that was asked for.
        wanted: u64,
        /// The last one given out.
        last: u64,
    },
    /// As for every read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a write, or a whole batch, did not happen. After every variant but [`WriteError::Io`] it is
/// certain that nothing of it did.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The key cannot exist.
    #[error(transparent)]
    BadKey(#[from] BadKey),
    /// The value, or all values of the batch together, are larger than the backbone takes.
    #[error("writing {bytes} bytes at {key:?}; at most {max_bytes} are taken")]
    TooLarge {
        /// Where it was to be written: the key at which the bound was passed.
        key: String,
        /// Its size.
        bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// No op, or more than the backbone takes in one batch.
    #[error("a batch of {ops} ops; it has 1 to {max_ops}")]
    BatchLength {
        /// How many there were.
        ops: usize,
        /// The bound.
        max_ops: usize,
    },
    /// Two ops of the batch write one key.
    #[error("the batch writes {key:?} more than once")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The expectation on a key does not hold.
    #[error("{key:?} is not as expected: {}", describe(*current))]
    Conflict {
        /// The key.
        key: String,
        /// The revision it has, if it has an entry.
        current: Option<u64>,
    },
    /// The store holds as much as it is configured to hold; deleting makes room.
    #[error("the store is full: its entries may have {max_bytes} bytes together")]
    StoreFull {
        /// The bound.
        max_bytes: usize,
    },
    /// The disk has no room. Reads go on, and so do writes once there is room again.
    #[error("the disk is full")]
    DiskFull(#[source] Arc<io::Error>),
    /// The disk or the connection failed. Whether the write happened is not known: read to learn.
    #[error("the write failed and may or may not have happened")]
    Io(#[source] Arc<io::Error>),
    /// The backbone has been closed.
    #[error("the backbone is closed")]
    Closed,
}

fn describe(current: Option<u64>) -> String {
    current.map_or_else(
        || "it has no entry".into(),
        |revision| format!("it is at revision {revision}"),
    )
}

/// Key-value with watch and compare-and-set. A write that has returned `Ok` survives the death of
/// the process and of the machine. Dropping the future of a write does not take the write back.
#[async_trait]
pub trait KeyValue: Send + Sync + 'static {
    /// The entry of `key`, if it has one.
    async fn get(&self, key: &str) -> Result<Option<Entry>, ReadError>;

    /// The entries whose keys begin with `prefix`, by key. A prefix is empty or ends with a dot.
    async fn list(&self, prefix: &str) -> Result<Listing, ReadError>;

    /// The entries below `prefix` by revision, then [`Event::Current`], then what changes.
    ///
    /// Revisions never go down. A watcher that reads too slowly is spared what is out of date: the
    /// last event of every key always comes, those before it may be left out.
    async fn watch(&self, prefix: &str) -> Result<Watch, ReadError>;

    /// What changed below `prefix` after `revision`, then [`Event::Current`], then what changes.
    async fn watch_after(&self, prefix: &str, revision: u64) -> Result<Watch, WatchAfterError>;

    /// All of `batch` or nothing: everything happens if every expectation holds.
    ///
    /// The ops take consecutive revisions in their order; the last one is returned.
    async fn apply(&self, batch: Vec<Op>) -> Result<u64, WriteError>;

    /// Writes `value` whatever was there; returns the revision.
    async fn put(&self, key: &str, value: Bytes) -> Result<u64, WriteError> {
        self.apply(vec![Op::put(key, value)]).await
    }

    /// Writes `value` where nothing is, else [`WriteError::Conflict`].
    async fn create(&self, key: &str, value: Bytes) -> Result<u64, WriteError> {
        self.apply(vec![Op::create(key, value)]).await
    }

    /// Writes `value` over the entry of `last_revision`, else [`WriteError::Conflict`].
    async fn update(&self, key: &str, value: Bytes, last_revision: u64) -> Result<u64, WriteError> {
        self.apply(vec![Op::update(key, value, last_revision)])
            .await
    }

    /// Deletes the entry; with `last_revision` only the one of that revision, else
    /// [`WriteError::Conflict`].
    async fn delete(&self, key: &str, last_revision: Option<u64>) -> Result<u64, WriteError> {
        self.apply(vec![Op::delete(key, last_revision)]).await
    }
}

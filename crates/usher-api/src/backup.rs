//! The file of a back-up: a tar archive that anybody can look into, whose first member says what
//! must follow and with which digests.
//!
//! ```text
//!   usher-backup.json   Contents
//!   blobs/DIGEST        each artifact that a record names, in the order of the contents
//!   files/NAME          each file that belongs to the platform itself, such as a key
//!   buckets.ndjson      all entries of the functions' buckets at one moment, one Entry a line
//!   entries.ndjson      all entries of the key-value store at one moment, likewise
//! ```
//!
//! Entries come last, so that whoever restores has everything that they name before he writes the
//! first of them. A file that was cut off, or changed, does not fit its contents and is refused
//! before anything is changed.
//!
//! Deliberately absent: compression and encryption, for which there are programs that do nothing
//! else; logs; compiled code and unpacked bundles, which are made anew.

mod reader;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
mod writer;

use serde::{Deserialize, Serialize};
use usher_core::id::Digest;

pub use reader::{ReadError, Reader};
pub use writer::{END, header, padding, total_bytes};

/// The media type of a back-up.
pub const MEDIA_TYPE: &str = "application/x-tar";

/// The format that is written, and the newest one that is read.
pub const FORMAT: u32 = 1;

/// The first member.
pub const CONTENTS: &str = "usher-backup.json";
/// The last member but one.
pub const BUCKETS: &str = "buckets.ndjson";
/// The last member.
pub const ENTRIES: &str = "entries.ndjson";

/// The largest contents that are read, in bytes.
pub const CONTENTS_MAX_BYTES: u64 = 64 << 20;
/// The largest file of the platform's own, in bytes.
pub const FILE_MAX_BYTES: u64 = 1 << 20;
/// The largest list of entries that is read, in bytes: more than a store can hold, in base64.
pub const ENTRIES_MAX_BYTES: u64 = 1 << 30;

/// What a back-up holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// See [`FORMAT`].
    pub format: u32,
    /// The version of Usher that wrote it.
    pub usher: String,
    /// When, in microseconds since the Unix epoch.
    pub taken_us: u64,
    /// The store's last write that it has. Every write that was acknowledged before the back-up
    /// was asked for is in it.
    pub revision: u64,
    /// The artifacts.
    pub blobs: Vec<Part>,
    /// Files of the platform's own; named as below the data folder.
    pub files: Vec<NamedPart>,
    /// What functions keep in buckets.
    pub buckets: List,
    /// Everything else.
    pub entries: List,
}

/// A list of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// How many.
    pub count: u64,
    /// Their bytes, all together.
    #[serde(flatten)]
    pub part: Part,
}

/// A member by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The SHA-256 digest of its bytes.
    pub digest: Digest,
    /// How many.
    pub bytes: u64,
}

/// A member with a name of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedPart {
    /// As below the data folder.
    pub name: String,
    /// What is in it.
    #[serde(flatten)]
    pub part: Part,
}

/// One entry of the key-value store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its key.
    pub key: String,
    /// Its bytes, in base64.
    pub value: String,
}

/// What is done with a key that has another value already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Nothing at all is restored.
    #[default]
    Refuse,
    /// It keeps the value that it has.
    Keep,
    /// It gets the value of the back-up.
    Replace,
}

/// The answer to `POST /v1/restore`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Entries that were not there.
    pub added: u64,
    /// Entries that were there with another value, and have that of the back-up now.
    pub replaced: u64,
    /// Entries that were there with another value, and have kept it.
    pub kept: u64,
    /// Entries that were there with the very same value.
    pub unchanged: u64,
    /// Artifacts that were stored.
    pub blobs: u64,
}

/// Where a blob stands.
pub fn blob_name(digest: &Digest) -> String {
    format!("blobs/{digest}")
}

/// Where a file stands.
pub fn file_name(name: &str) -> String {
    format!("files/{name}")
}

//! What the roles share and what outlives them: key-value with watch and compare-and-set, and
//! blobs.
//!
//! ```text
//!   controller, gateway, node ──► dyn Backbone = KeyValue + Blobs
//!                                        ▲
//!                                   Embedded: one ACID file, a folder of blobs, one process
//! ```
//!
//! The two traits keep to what NATS JetStream can also promise: one counter of revisions for the
//! whole bucket, expectations on the last revision of a key, prefixes of whole tokens, blobs by
//! digest. [`contract`] is the suite that every implementer must pass.
//!
//! Deliberately absent: what the keys mean. This crate does not know functions.

#![forbid(unsafe_code)]

pub mod blobs;
pub mod contract;
pub mod embedded;
pub mod key;
pub mod key_value;
mod watched;

pub use blobs::{Blob, BlobSource, Blobs, GetBlobError, PutBlobError};
pub use embedded::{Embedded, Limits, OpenError};
pub use key::BadKey;
pub use key_value::{
    Change, Entry, Event, Expect, KeyValue, Listing, Op, ReadError, Watch, WatchAfterError,
    WriteError,
};
pub use watched::Watched;

/// All that a role asks of a backbone, as one object: `Arc<dyn Backbone>`.
pub trait Backbone: KeyValue + Blobs {}

impl<T: KeyValue + Blobs + ?Sized> Backbone for T {}

//! The controller: which functions there shall be, and the API by which people say so.
//!
//! ```text
//!   HTTP ──► api ──► controller ──► backbone: records (compare-and-set), artifacts (blobs)
//!                        │  └─────► node: prepare before the record, retire behind it
//!                        └────────► followers (gateways): wait until they know, then acknowledge
//! ```
//!
//! Deliberately absent: how an image is made (`usher-node`), and where a request goes
//! (`usher-gateway`, which watches the records itself).

#![forbid(unsafe_code)]

pub mod api;
mod artifacts;
mod audit;
mod backup;
mod change;
mod controller;
mod deploy;
pub mod keys;
mod owners;
mod place;
mod plan;
mod records;
mod remove;
pub mod secrets;
mod start;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
mod traffic;
mod uploads;

pub use artifacts::UploadError;
pub use audit::AuditOptions;
pub use backup::{Archive, BucketEntries, OwnFiles, RestoreError, TakeError};
pub use controller::{Addresses, Controller, Follower, Options};
pub use deploy::DeployError;
pub use plan::Refusal;
pub use records::RecordError;
pub use remove::RemoveError;

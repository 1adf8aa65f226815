//! Taking a back-up of a running platform, and restoring one into it.
//!
//! ```text
//!   take:     entries at one moment ─► what they name is kept from the collector ─► archive
//!   restore:  archive ─► blobs ─► all entries read and judged ─► written, functions last ─► told
//! ```
//!
//! What was acknowledged before a back-up is asked for is in it. What is acknowledged while one is
//! restored is never lost: each entry is written on the condition that nobody has written it since
//! it was judged.
//!
//! Deliberately absent: the archive's format (`usher_api::backup`); logs.

mod own;
mod plan;
mod restore;
mod take;
mod tell;
mod writing;

pub use own::{BucketEntries, OwnFiles};
pub use restore::RestoreError;
pub use take::{Archive, TakeError};

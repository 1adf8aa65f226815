//! The node: it holds images and environments, runs invocations in them, and makes the environments
//! clean again.
//!
//! ```text
//! Invoker::invoke ─► Entry (revision) ─► Pool (environments) ─► engine ─► reply
//!                      │ loads the image      │ claim, wait, start     └► renewal ─► Pool
//! ```
//!
//! [`Node`] is generic over the engine and knows none. Decisions (who waits, when one more starts,
//! what is kept, what is audited, which move of an environment is legal) are `usher_core`'s.
//!
//! Deliberately absent: names. A gateway has resolved them before, and a node only ever runs a
//! revision.

#![forbid(unsafe_code)]

mod account;
mod artifact;
mod audits;
mod boxed;
mod buckets;
mod entry;
mod events;
mod flights;
mod host;
mod invoke;
pub mod logs;
mod memory;
pub mod metrics;
mod node;
mod pool;
mod renewal;
mod reply;
mod rest;
pub mod steps;

pub use artifact::{ArtifactError, ArtifactSource};
pub use buckets::BucketStore;
pub use host::HostSource;
pub use node::{Node, NodeOptions};

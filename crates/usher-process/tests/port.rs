//! The `$PORT` contract against programs that are closures over a raw socket.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "port/rig.rs"]
mod rig;

#[path = "port/calls.rs"]
mod calls;
#[path = "port/hostile.rs"]
mod hostile;
#[path = "port/reuse.rs"]
mod reuse;
#[path = "port/streams.rs"]
mod streams;
#[path = "port/upgrades.rs"]
mod upgrades;

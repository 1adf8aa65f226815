//! Renewal of a program: back to the state in which it was ready for its first request.
//!
//! ```text
//! ready ─quiet→ stopped ─► agent, memory, kernel, registers ─► resumed            snapshot, once
//! reply ──────► stopped ─► found: what differs ─► one batch of calls ─► registers ─► resumed
//!                  └─ any doubt ─► killed, and replaced by another program
//! resumed ─► told that it was put back, with fresh entropy ─► acknowledged: clean
//! ```
//!
//! A program is traced only while it is put back. What is memory, kernel state and registers is put
//! back by a module each; this one says in which order.
//!
//! The idea of restoring a warm process between requests is Groundhog's (EuroSys 2023).
//! Deliberately absent: which programs may be put back at all (`crate::renewable`).

#[cfg(test)]
mod awaited;
mod clone;
mod kernel;
mod means;
mod memory;
mod quiet;
mod snapshot;
mod spent;
mod step;
mod stopped;

pub(crate) use clone::{Filling, NoPattern, NotCloned, Pattern};
pub(crate) use kernel::{Given, Surroundings, Writable};
pub(crate) use means::Means;
pub(crate) use memory::{Aside, MARK, Room, Undetermined, discard};
pub(crate) use quiet::{QUIET_WAIT_MAX_MS, quiet};
pub(crate) use snapshot::{Back, NotPutBack, NotTaken, Snapshot};
pub(crate) use step::Injected;
pub use step::{Injection, Step};

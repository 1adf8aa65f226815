//! The process engine: any Linux program, unmodified, behind the same door as components.
//!
//! ```text
//!  bundle ─unpack→ folder ─┐
//!  sandbox ─launch─────────┴→ program ─contract→ reply ─┬→ put back to what it was
//!                                                        └→ ended, and another program started
//! ```
//!
//! A program runs in a sandbox of its own and speaks one of two contracts: it asks the AWS Lambda
//! Runtime API for its requests, or it serves HTTP at `$PORT`. A program that has served a request
//! is put back to the snapshot that was taken when it was ready, or replaced by a new process where
//! that cannot be done; where state is kept, by key or for all, so is the process.
//!
//! Deliberately absent: pools of environments, which a node keeps; one image for several programs.

#![deny(unsafe_code)]

mod areas;
mod ask;
pub mod bundle;
mod cause;
mod cloned;
pub mod contract;
mod ending;
mod engine;
mod environment;
mod failure;
mod folders;
mod image;
mod launch;
mod lint;
pub mod outbound;
mod output;
mod renewable;
mod renewal;
mod restorable;
pub mod restored;
mod run;
pub mod sandbox;
mod served;
mod start;
mod sys;
mod tunnel;
mod warm_up;

pub use engine::{Counters, ProcessConfig, ProcessEngine};
pub use environment::{ProcessEnvironment, ProcessUsed};
pub use image::ProcessImage;
pub use renewal::{Injection, Step};

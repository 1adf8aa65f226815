//! What an engine is: it makes an artifact into an image, an image into environments, and an
//! environment clean again after each run.
//!
//! ```text
//! artifact ─load→ Image ─start→ Environment ─run→ Used ─renew→ Environment, …
//! ```
//!
//! The types forbid misuse: only a clean environment has `run`, only a used one has `renew`, both
//! take `self`, and whatever fails leaves nothing to reuse.
//!
//! Deliberately absent: any engine but the fake one that tests use, and the `pair` that makes one
//! engine of two. `contract` is the suite that all of them pass.

#![forbid(unsafe_code)]

mod artifact;
pub mod ask;
mod call;
mod clock;
pub mod contract;
mod environment;
pub mod fake;
pub mod link;
pub mod number;
pub mod outbound;
pub mod pair;

pub use artifact::Artifact;
pub use call::{Call, GuestOutput, GuestStream};
pub use clock::Clock;
pub use environment::{
    Behind, Ended, Engine, Environment, LoadError, Over, RenewError, Renewed, Run, RunReply,
    StartError, Used, UsedFacts,
};

//! The sandbox: what a program gets in it, what it cannot get out of it, and what is left of it.
//!
//! `USHER_COUNT` says how many programs crash, hang or are out of memory (200 if it is not set).
//! Deliberately absent: contracts. Programs here are run, not called.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "sandbox/attacks.rs"]
mod attacks;
#[path = "sandbox/leaks.rs"]
mod leaks;
#[path = "sandbox/life.rs"]
mod life;
#[path = "sandbox/means.rs"]
mod means;
#[path = "sandbox/rig.rs"]
mod rig;

//! The sandbox: what a program gets in it, what it cannot get out of it, and what is left of it.
//!
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

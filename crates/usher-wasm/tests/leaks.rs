//! Nothing of one request is found by the next, whatever it was planted in and however the
//! environment is renewed; and what finds nothing here does find it where renewal is off.
//!
//! `USHER_COUNT` says how many requests each probe gets (1,000 if it is not set).
#![expect(clippy::unwrap_used, reason = "tests")]

mod guests;
#[path = "leaks/memo.rs"]
mod memo;
#[path = "leaks/negative.rs"]
mod negative;
#[path = "leaks/probe.rs"]
mod probe;
#[path = "leaks/random.rs"]
mod random;
#[path = "leaks/scan.rs"]
mod scan;
#[path = "leaks/seek.rs"]
mod seek;

/// Requests that each probe gets.
fn count() -> usize {
    let told = std::env::var("USHER_COUNT").ok();
    told.map_or(1_000, |count| count.parse().unwrap())
}

//! Programs whose memory is swapped after each run: the attack suite, and where their pages are.
//!
//! Needs the programs of `examples/hostile` (`cargo xtask examples`), and the right to read page
//! maps.
#![expect(clippy::unwrap_used, reason = "tests")]

use usher_core::function::RenewalChoice;

/// By which way programs are put back.
fn renewal() -> RenewalChoice {
    RenewalChoice::Swap
}

#[path = "renewal/attacks.rs"]
mod attacks;
#[path = "renewal/chance.rs"]
mod chance;
#[path = "renewal/channels.rs"]
mod channels;
#[path = "swap/everywhere.rs"]
mod everywhere;
#[path = "renewal/frames.rs"]
mod frames;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "renewal/rig.rs"]
mod rig;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "renewal/scan.rs"]
mod scan;
#[path = "renewal/secret.rs"]
mod secret;

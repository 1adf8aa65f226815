//! Nothing that a hostile program leaves in one run is there in the next one: the attack suite,
//! with a scanner that shares no code with what renews.
//!
//! Each test holds however a program becomes clean, and has its control in the same program with
//! `isolation = "none"`, where everything that is planted is found. Needs the programs of
//! `examples/hostile` (`cargo xtask examples`), and gcc.
#![expect(clippy::unwrap_used, reason = "tests")]

use usher_core::function::RenewalChoice;

/// By which way programs are put back: by both.
fn renewal() -> RenewalChoice {
    RenewalChoice::Auto
}

#[path = "renewal/answers.rs"]
mod answers;
#[path = "renewal/attacks.rs"]
mod attacks;
#[path = "renewal/chance.rs"]
mod chance;
#[path = "renewal/channels.rs"]
mod channels;
#[path = "renewal/dumps.rs"]
mod dumps;
#[path = "renewal/dying.rs"]
mod dying;
#[path = "renewal/frames.rs"]
mod frames;
#[path = "renewal/predictors.rs"]
mod predictors;
#[path = "renewal/probes.rs"]
mod probes;
#[path = "renewal/randomness.rs"]
mod randomness;
#[path = "renewal/rig.rs"]
mod rig;
#[path = "renewal/scan.rs"]
mod scan;
#[path = "renewal/secret.rs"]
mod secret;
#[path = "renewal/streams.rs"]
mod streams;
#[path = "renewal/trace.rs"]
mod trace;

//! Environments that are made like the first one of their image, instead of being started: they
//! answer as started ones, are confined as those, and share nothing that a request could change.
//!
//! Every test has counted clones, and a control in which none is made. Needs the programs of
//! `cargo xtask examples`.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "clone/apart.rs"]
mod apart;
#[path = "clone/audited.rs"]
mod audited;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/chance.rs"]
mod chance;
#[path = "clone/dying.rs"]
mod dying;
#[path = "clone/equal.rs"]
mod equal;
#[path = "clone/random.rs"]
mod random;
#[path = "clone/refused.rs"]
mod refused;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/rig.rs"]
mod rig;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/scan.rs"]
#[expect(unused_imports, reason = "shared with other tests")]
mod scan;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "renewal/secret.rs"]
mod secret;

use usher_core::function::RenewalChoice;

/// By which way programs are put back: by both.
fn renewal() -> RenewalChoice {
    RenewalChoice::Auto
}

//! `cargo xtask peers`: the programs that tests talk to as users' programs do, from the machine's
//! package manager.
//!
//! A peer that is there already, in whatever version, is left alone. None of them is started here:
//! a test starts what it needs, on loopback and in a folder of its own, and ends it by its process
//! id.
//!
//! Deliberately absent: the tool chains of the examples (`examples::tools`), and what benchmarks
//! measure against (`bench::peer`).

use std::path::Path;

use anyhow::Result;

use crate::examples;

/// Debian's packages, with the program of each that tests start.
const PEERS: &[(&str, &str)] = &[
    ("chromium", "/usr/bin/chromium"),
    ("chromium-driver", "/usr/bin/chromedriver"),
    ("pebble", "/usr/bin/pebble"),
    ("prometheus", "/usr/bin/prometheus"),
];

/// Installs what is missing.
///
/// # Errors
/// The package manager refuses; the message says which packages to install by hand.
pub(crate) fn run() -> Result<()> {
    let missing: Vec<&str> = missing(|program| Path::new(program).exists()).collect();
    if missing.is_empty() {
        println!("all {} are there", PEERS.len());
        return Ok(());
    }
    examples::apt(&missing)
}

fn missing(is_there: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static str> {
    PEERS
        .iter()
        .filter(move |(_, program)| !is_there(program))
        .map(|(package, _)| *package)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        let left: Vec<&str> = missing(|program| program != "/usr/bin/pebble").collect();
        assert_eq!(left, ["pebble"]);
        assert_eq!(missing(|_| false).count(), PEERS.len());
        assert_eq!(missing(|_| true).count(), 0);
    }
}

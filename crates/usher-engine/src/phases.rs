//! What making an environment from nothing takes, phase by phase.
//!
//! Each engine has the phases that it really has. A phase that failed is not counted: how long
//! something took that did not come about says nothing of how long it takes.
//!
//! Deliberately absent: whose environment it was, which would give a histogram for each function.

use std::time::{Duration, Instant};

use usher_core::histogram::{Lazy, Reading, TIMES_NS};

/// A phase of a cold start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Phase {
    /// The artifact is read from the store.
    Fetch,
    /// Compiled code is looked for on the disk, and compared with its checksum.
    Look,
    /// A component is judged and rewritten.
    Rewrite,
    /// A component is compiled.
    Compile,
    /// Compiled code is mapped and linked.
    Map,
    /// A component is instantiated, and its clean images are taken.
    Instantiate,
    /// A bundle is unpacked.
    Unpack,
    /// A sandbox is had, with what is served around the program.
    Sandbox,
    /// The program is launched in it.
    Launch,
    /// The program comes to be ready.
    Ready,
    /// Its warm-up requests are answered.
    WarmUp,
    /// Its snapshot is taken.
    Snapshot,
    /// It is made like the first program instead: all of that in one.
    Clone,
}

impl Phase {
    /// All of them, in the order in which they come.
    pub const ALL: [Self; 13] = [
        Self::Fetch,
        Self::Look,
        Self::Rewrite,
        Self::Compile,
        Self::Map,
        Self::Instantiate,
        Self::Unpack,
        Self::Sandbox,
        Self::Launch,
        Self::Ready,
        Self::WarmUp,
        Self::Snapshot,
        Self::Clone,
    ];

    /// The phase's name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::Look => "look",
            Self::Rewrite => "rewrite",
            Self::Compile => "compile",
            Self::Map => "map",
            Self::Instantiate => "instantiate",
            Self::Unpack => "unpack",
            Self::Sandbox => "sandbox",
            Self::Launch => "launch",
            Self::Ready => "ready",
            Self::WarmUp => "warm-up",
            Self::Snapshot => "snapshot",
            Self::Clone => "clone",
        }
    }
}

/// How long phases took, since this was made.
#[derive(Debug, Default)]
pub struct Phases([Lazy; Phase::ALL.len()]);

impl Phases {
    /// A phase took so long.
    pub fn took(&self, phase: Phase, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0[phase as usize].add(&TIMES_NS, took_ns);
    }

    /// A phase that began at this moment is over.
    pub fn since(&self, phase: Phase, begun: Instant) {
        self.took(phase, begun.elapsed());
    }

    /// What was counted so far, phases that never occurred left out.
    pub fn readings(&self) -> Vec<(Phase, Reading)> {
        let counted = Phase::ALL.into_iter().zip(&self.0);
        counted
            .filter_map(|(phase, lazy)| Some((phase, lazy.reading()?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_has_its_own_place_and_name() {
        let mut words = std::collections::BTreeSet::new();
        for (at, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase as usize, at);
            assert!(words.insert(phase.word()), "{}", phase.word());
        }
    }

    #[test]
    fn only_what_occurred_is_told() {
        let phases = Phases::default();
        phases.took(Phase::Compile, Duration::from_millis(3));
        phases.took(Phase::Compile, Duration::from_millis(4));
        let readings = phases.readings();
        assert_eq!(readings.len(), 1);
        assert_eq!(readings[0].0, Phase::Compile);
        assert_eq!(readings[0].1.count(), 2);
        assert_eq!(readings[0].1.sum, 7_000_000);
    }
}

//! Which renewals are audited, and which revisions an audit has found wanting. The decisions are
//! `usher_core::audit`'s; the numbers are drawn and the findings kept here.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use usher_core::audit::{self, Distrust};
use usher_core::function::Revision;
use usher_core::id::RevisionId;

/// The weights of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Draws one renewal in so many, in an order that nobody outside can foretell.
pub(crate) struct Audits {
    one_in: u64,
    state: AtomicU64,
}

impl Audits {
    /// Audits one renewal in `one_in`; 0: none.
    pub(crate) fn new(one_in: u64) -> Self {
        Self {
            one_in,
            state: AtomicU64::new(RandomState::new().hash_one(one_in)),
        }
    }

    /// Whether this renewal is audited.
    pub(crate) fn due(&self) -> bool {
        let mut mixed = self.state.fetch_add(STEP, Ordering::Relaxed);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        audit::due(mixed ^ (mixed >> 31), self.one_in)
    }
}

/// The revisions that are not renewed live any more. They outlive their images; there is one small
/// entry for each revision whose audit ever failed, and a sound engine has none.
#[derive(Default)]
pub(crate) struct Distrusts(Mutex<HashMap<RevisionId, Distrust>>);

impl Distrusts {
    /// An audit of this deployment has failed.
    pub(crate) fn add(&self, revision: &Revision) {
        let distrust = Distrust::of(revision);
        self.0.lock().insert(revision.id, distrust);
    }

    /// Whether this deployment is distrusted.
    pub(crate) fn hold(&self, revision: &Revision) -> bool {
        let distrusts = self.0.lock();
        let distrust = distrusts.get(&revision.id);
        distrust.is_some_and(|distrust| distrust.holds(revision))
    }
}

#[cfg(test)]
mod tests {
    use super::Audits;

    #[test]
    fn about_one_in_so_many_is_audited() {
        let due = |one_in| {
            let audits = Audits::new(one_in);
            (0..100_000).filter(|_| audits.due()).count()
        };
        assert!((50..200).contains(&due(1_000)));
        assert_eq!(due(1), 100_000);
        assert_eq!(due(0), 0);
    }
}

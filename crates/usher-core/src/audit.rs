//! Which renewals are audited, and what follows when an environment cannot be trusted.
//!
//! A determination reads the pointer before every run and costs nothing; an audit compares the
//! whole area with the image and is therefore made for one renewal in a thousand.
//!
//! Deliberately absent: randomness, which is passed in, and the comparison, which the engine makes.

use crate::function::Revision;
use crate::id::RevisionId;

/// One renewal in so many is audited.
pub const AUDIT_ONE_IN: u64 = 1_000;

/// Whether a renewal is audited, from a uniformly random number; `one_in` 0 counts as never.
pub const fn due(random: u64, one_in: u64) -> bool {
    match random.checked_rem(one_in) {
        Some(rest) => rest == 0,
        None => false,
    }
}

/// Why an environment cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// Before a run, the pointer did not name the area that it had to name.
    Determination,
    /// After a renewal, the area was not the image.
    Audit,
}

/// What follows from a finding. The environment is quarantined and ended in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consequence {
    /// The revision is not renewed live any more: a [`Distrust`] is recorded.
    pub live_off: bool,
    /// The counter that is raised.
    pub metric: &'static str,
}

/// What follows from a finding.
pub const fn follow(finding: Finding) -> Consequence {
    match finding {
        // Every run is gated by a determination, so the next failure is caught just as surely.
        Finding::Determination => Consequence {
            live_off: false,
            metric: "usher_determinations_failed_total",
        },
        // Only one renewal in a thousand is audited, so others may have gone wrong unseen.
        Finding::Audit => Consequence {
            live_off: true,
            metric: "usher_audits_failed_total",
        },
    }
}

/// A revision that is not renewed live until it is deployed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Distrust {
    /// Which.
    pub revision: RevisionId,
    /// The deployment in which the audit failed.
    pub number: u64,
}

impl Distrust {
    /// The distrust that a failed audit of this deployment leaves behind.
    pub const fn of(revision: &Revision) -> Self {
        Self {
            revision: revision.id,
            number: revision.number,
        }
    }

    /// Whether it holds for a deployment. It then is served by fresh instances, even if its
    /// manifest says `renewal = "live"`: right comes before fast.
    pub fn holds(&self, revision: &Revision) -> bool {
        self.revision == revision.id && revision.number <= self.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::Settings;
    use crate::id::{Digest, FunctionKey, Name};

    #[test]
    fn one_in_so_many_is_due_and_none_in_zero() {
        let due_of = |one_in| (0..10_000).filter(|random| due(*random, one_in)).count();
        assert_eq!(due_of(AUDIT_ONE_IN), 10);
        assert_eq!(due_of(1), 10_000);
        assert_eq!(due_of(0), 0);
    }

    #[test]
    fn a_failed_audit_turns_live_off_until_the_next_deployment() {
        assert!(follow(Finding::Audit).live_off);
        assert!(!follow(Finding::Determination).live_off);
        assert_ne!(
            follow(Finding::Audit).metric,
            follow(Finding::Determination).metric
        );

        let name = Name::default_owner();
        let revision = Revision {
            id: RevisionId(Digest([1; 32])),
            function: FunctionKey {
                owner: name.clone(),
                name,
            },
            number: 3,
            artifact: Digest([2; 32]),
            settings: Settings::default(),
        };
        let distrust = Distrust::of(&revision);
        assert!(distrust.holds(&revision));
        assert!(!distrust.holds(&Revision {
            number: 4,
            ..revision.clone()
        }));
        assert!(!distrust.holds(&Revision {
            id: RevisionId(Digest([9; 32])),
            ..revision
        }));
    }
}

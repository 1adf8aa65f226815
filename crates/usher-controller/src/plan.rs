//! What a deployment makes of a function's record.
//!
//! Deliberately absent: reading and writing records, and the clock.

use usher_api::record::{FunctionRecord, HISTORY_MAX, PastRevision};
use usher_core::function::{Revision, Settings};
use usher_core::id::{Digest, FunctionKey, RevisionId};

use crate::records::Kept;

/// What is to be deployed.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) function: FunctionKey,
    pub(crate) artifact: Digest,
    pub(crate) settings: Settings,
    /// Digest of [`Revision::identity`] over the three.
    pub(crate) id: RevisionId,
}

/// What the record shall be, and how it comes to be so.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) record: FunctionRecord,
    pub(crate) step: Step,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The record, where none is.
    Create,
    /// The record, over the one of the backbone's revision `last`, which served as `replaced`.
    Change { last: u64, replaced: RevisionId },
    /// Nothing: the very same revision is current since the backbone's revision `since`.
    Keep { since: u64 },
}

/// Judges `wanted` against the record as it stands; `now_us` is the time, in microseconds since the
/// Unix epoch.
pub(crate) fn plan(wanted: &Wanted, kept: Option<Kept>, now_us: u64) -> Plan {
    let revision = |number| Revision {
        id: wanted.id,
        function: wanted.function.clone(),
        number,
        artifact: wanted.artifact,
        settings: wanted.settings.clone(),
    };
    let Some(Kept {
        record: old,
        revision: last,
    }) = kept
    else {
        let record = FunctionRecord {
            key: wanted.function.clone(),
            current: revision(1),
            history: Vec::new(),
            created_us: now_us,
            updated_us: now_us,
        };
        return Plan {
            record,
            step: Step::Create,
        };
    };
    if old.current.id == wanted.id {
        let step = Step::Keep { since: last };
        return Plan { record: old, step };
    }
    let replaced = old.current.id;
    let past = PastRevision {
        id: replaced,
        number: old.current.number,
        deployed_us: old.updated_us,
    };
    let record = FunctionRecord {
        key: old.key,
        current: revision(old.current.number.saturating_add(1)),
        history: std::iter::once(past)
            .chain(old.history)
            .take(HISTORY_MAX)
            .collect(),
        created_us: old.created_us,
        // A clock that was put back must not make history run backwards.
        updated_us: now_us.max(old.updated_us),
    };
    Plan {
        record,
        step: Step::Change { last, replaced },
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn wanted(content: u8) -> Wanted {
        Wanted {
            function: FunctionKey {
                owner: "default".parse().unwrap(),
                name: "f".parse().unwrap(),
            },
            artifact: Digest([content; 32]),
            settings: Settings::default(),
            id: RevisionId(Digest([content; 32])),
        }
    }

    fn kept(content: u8, before: Option<Kept>, now_us: u64) -> Kept {
        let record = plan(&wanted(content), before, now_us).record;
        Kept {
            record,
            revision: now_us,
        }
    }

    #[test]
    fn a_first_deployment_has_number_one() {
        let Plan { record, step } = plan(&wanted(1), None, 7);
        assert_eq!(step, Step::Create);
        assert_eq!(record.current.number, 1);
        assert_eq!((record.created_us, record.updated_us), (7, 7));
        assert!(record.history.is_empty());
    }

    #[test]
    fn the_same_revision_leaves_the_record() {
        let before = kept(1, None, 7);
        let Plan { record, step } = plan(&wanted(1), Some(before.clone()), 8);
        assert_eq!(step, Step::Keep { since: 7 });
        assert_eq!(record, before.record);
    }

    #[test]
    fn another_revision_expects_the_record_that_was_read() {
        let replaced = wanted(1).id;
        let Plan { step, .. } = plan(&wanted(2), Some(kept(1, None, 7)), 8);
        assert_eq!(step, Step::Change { last: 7, replaced });
    }

    #[test]
    fn history_is_newest_first_and_bounded_and_time_does_not_run_back() {
        let mut before = kept(0, None, 1_000);
        for content in 1..=100 {
            before = kept(content, Some(before), u64::from(content));
        }
        let record = before.record;
        assert_eq!(record.current.number, 101);
        assert_eq!(record.history.len(), HISTORY_MAX);
        assert_eq!(record.history[0].number, 100);
        assert!(
            record
                .history
                .is_sorted_by(|newer, older| newer.number > older.number)
        );
        assert_eq!((record.created_us, record.updated_us), (1_000, 1_000));
    }
}

//! What a change makes of a function's record: a deployment, an alias, a roll back.
//!
//! ```text
//!   record ─► Draft: all whole revisions, pointers ─change─► settle ─┬ as before ─► Keep
//!                                          └ refused                  └ else ─► Change
//! ```
//!
//! Invariants: what a pointer names stays whole; numbers are never given out twice; `current` is
//! the main revision of what the bare name serves.
//!
//! Deliberately absent: reading and writing records, and the clock.

mod ahead;
#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use usher_api::record::{
    ALIASES_MAX, FunctionRecord, HISTORY_MAX, KEPT_MAX_BYTES, KeptRevision, PastRevision,
    RESTORABLE_MAX,
};
use usher_core::function::{Revision, Settings};
use usher_core::id::{Digest, FunctionKey, RevisionId};
use usher_core::traffic::wanted::{self, NotSplit};
use usher_core::traffic::{Alias, Split};

use crate::records::Kept;

pub(crate) use ahead::ahead;

/// What is to be deployed.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) function: FunctionKey,
    pub(crate) artifact: Digest,
    pub(crate) settings: Settings,
    /// Digest of [`Revision::identity`] over the three.
    pub(crate) id: RevisionId,
}

/// What is to be changed.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there are as many as changes run at once, and each stays where it was made"
)]
pub(crate) enum Change {
    /// A revision is deployed, and gets all traffic of the bare name or none.
    Deploy { wanted: Wanted, traffic: bool },
    /// An alias is pointed at revisions; `live` is what the bare name serves.
    Point {
        alias: Alias,
        shares: Vec<wanted::Wanted>,
    },
    /// An alias goes.
    Unpoint { alias: Alias },
    /// The bare name serves one revision; none: the one that had all traffic before.
    RollBack { to: Option<wanted::Revision> },
}

/// Why a function cannot be changed like that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such function.
    #[error("there is no function {function}; `usher list` shows those that are deployed")]
    NoFunction {
        /// What was meant.
        function: FunctionKey,
    },
    /// Nothing would serve.
    #[error(
        "the first revision of a function has to take its traffic; deploy without --no-traffic"
    )]
    FirstWithoutTraffic,
    /// The traffic cannot be shared out like that.
    #[error(transparent)]
    NotSplit(#[from] NotSplit),
    /// The bare name must serve something.
    #[error(
        "{:?} is what the bare name serves and cannot be deleted; point it at another revision, or \
         delete the function",
        usher_core::traffic::LIVE
    )]
    LiveStays,
    /// There is no such alias.
    #[error("there is no alias {alias}; `usher alias list` shows those that there are")]
    NoAlias {
        /// What was meant.
        alias: Alias,
    },
    /// So many aliases there are already.
    #[error("a function has at most {ALIASES_MAX} aliases; delete one first")]
    TooManyAliases,
    /// Nothing had all traffic before.
    #[error(
        "no other revision had all traffic before; name one, as in --to v3 (`usher show` lists \
         them)"
    )]
    NothingBefore,
}

/// What the record shall be, and how it comes to be so.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) record: FunctionRecord,
    pub(crate) step: Step,
    /// What must be ready before the record is written.
    pub(crate) prepare: Vec<Revision>,
    /// What nobody can ask for any more once everybody knows of it.
    pub(crate) leaves: Vec<RevisionId>,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The record, where none is.
    Create,
    /// The record, over the one of the backbone's revision `last`.
    Change { last: u64 },
    /// Nothing: it is so already, since the backbone's revision `since`.
    Keep { since: u64 },
}

/// Judges a change against the record as it stands; `now_us` is the time, in microseconds since the
/// Unix epoch.
pub(crate) fn plan(
    function: &FunctionKey,
    change: &Change,
    kept: Option<&Kept>,
    now_us: u64,
) -> Result<Plan, Refusal> {
    let Some(Kept {
        record: old,
        revision: last,
    }) = kept
    else {
        return first(function, change, now_us);
    };
    let mut draft = Draft::of(old);
    let prepare = match change {
        Change::Deploy { wanted, traffic } => draft.deploy(wanted, *traffic, now_us),
        Change::Point { alias, shares } => draft.point(alias, shares)?,
        Change::Unpoint { alias } => draft.unpoint(alias)?,
        Change::RollBack { to } => draft.roll_back(to.as_ref())?,
    };
    let prepare = draft.revisions(&prepare);
    // A clock that was put back must not make history run backwards.
    let record = draft.settle(old, now_us.max(old.updated_us));
    let unchanged = FunctionRecord {
        updated_us: old.updated_us,
        ..record.clone()
    } == with_deployed_us(old);
    if unchanged {
        let step = Step::Keep { since: *last };
        let record = old.clone();
        return Ok(Plan {
            record,
            step,
            prepare,
            leaves: Vec::new(),
        });
    }
    let leaves = old.in_service().into_iter().map(|revision| revision.id);
    let leaves: BTreeSet<_> = leaves.filter(|id| !record.serves(*id)).collect();
    Ok(Plan {
        step: Step::Change { last: *last },
        record,
        prepare,
        leaves: leaves.into_iter().collect(),
    })
}

/// A record as this version would write it.
fn with_deployed_us(old: &FunctionRecord) -> FunctionRecord {
    FunctionRecord {
        deployed_us: Some(old.current_deployed_us()),
        ..old.clone()
    }
}

fn first(function: &FunctionKey, change: &Change, now_us: u64) -> Result<Plan, Refusal> {
    let wanted = match change {
        Change::Deploy {
            wanted,
            traffic: true,
        } => wanted,
        Change::Deploy { traffic: false, .. } => return Err(Refusal::FirstWithoutTraffic),
        Change::Point { .. } | Change::Unpoint { .. } | Change::RollBack { .. } => {
            let function = function.clone();
            return Err(Refusal::NoFunction { function });
        }
    };
    let revision = wanted.revision(1);
    Ok(Plan {
        record: FunctionRecord::first(revision.clone(), now_us),
        step: Step::Create,
        prepare: vec![revision],
        leaves: Vec::new(),
    })
}

impl Wanted {
    fn revision(&self, number: u64) -> Revision {
        Revision {
            id: self.id,
            function: self.function.clone(),
            number,
            artifact: self.artifact,
            settings: self.settings.clone(),
        }
    }
}

/// A record taken apart, so that what is current is no special case.
struct Draft {
    /// All whole revisions, newest first.
    whole: Vec<KeptRevision>,
    /// All revisions by number.
    past: BTreeMap<u64, PastRevision>,
    live: Split,
    aliases: BTreeMap<Alias, Split>,
    before: Option<u64>,
    staged: Option<u64>,
}

impl Draft {
    fn of(record: &FunctionRecord) -> Self {
        let current = KeptRevision {
            revision: record.current.clone(),
            deployed_us: record.current_deployed_us(),
        };
        let mut draft = Self {
            whole: Vec::new(),
            past: record
                .history
                .iter()
                .map(|past| (past.number, past.clone()))
                .collect(),
            live: record.live(),
            aliases: record.aliases.clone(),
            before: record.before,
            staged: record.staged,
        };
        for kept in record.kept.iter().cloned().chain([current]) {
            draft.add(kept);
        }
        draft
    }

    fn add(&mut self, kept: KeptRevision) {
        let KeptRevision {
            revision,
            deployed_us,
        } = &kept;
        let past = PastRevision {
            id: revision.id,
            number: revision.number,
            deployed_us: *deployed_us,
        };
        self.past.insert(revision.number, past);
        self.whole.push(kept);
        self.whole.sort_by_key(|kept| Reverse(kept.revision.number));
    }

    fn known(&self) -> Vec<(u64, RevisionId)> {
        let revisions = self.whole.iter().map(|kept| &kept.revision);
        revisions
            .map(|revision| (revision.number, revision.id))
            .collect()
    }

    /// The whole revisions of these numbers, each id once.
    fn revisions(&self, numbers: &[u64]) -> Vec<Revision> {
        let mut ids = BTreeSet::new();
        let revisions = self.whole.iter().map(|kept| &kept.revision);
        revisions
            .filter(|revision| numbers.contains(&revision.number) && ids.insert(revision.id))
            .cloned()
            .collect()
    }

    fn deploy(&mut self, wanted: &Wanted, traffic: bool, now_us: u64) -> Vec<u64> {
        let known = self.known();
        let newest = known.first().copied();
        let serving = known
            .iter()
            .find(|(number, id)| *id == wanted.id && self.live.only() == Some(*number));
        if let Some((number, _)) = serving {
            return vec![*number];
        }
        let number = match newest {
            Some((number, id)) if id == wanted.id => number,
            _ => {
                let last = self.past.keys().next_back().copied().unwrap_or(0);
                let number = last.saturating_add(1);
                self.add(KeptRevision {
                    revision: wanted.revision(number),
                    deployed_us: now_us,
                });
                number
            }
        };
        match traffic {
            true => self.go_live(Split::whole(number)),
            false => self.staged = Some(number),
        }
        vec![number]
    }

    fn point(&mut self, alias: &Alias, shares: &[wanted::Wanted]) -> Result<Vec<u64>, Refusal> {
        let split = wanted::split(shares, &self.known())?;
        let named = split.shares().iter().map(|share| share.revision).collect();
        if alias.is_live() {
            self.go_live(split);
            return Ok(named);
        }
        self.aliases.insert(alias.clone(), split);
        match self.aliases.len() > ALIASES_MAX {
            true => Err(Refusal::TooManyAliases),
            false => Ok(named),
        }
    }

    fn unpoint(&mut self, alias: &Alias) -> Result<Vec<u64>, Refusal> {
        if alias.is_live() {
            return Err(Refusal::LiveStays);
        }
        match self.aliases.remove(alias) {
            Some(_) => Ok(Vec::new()),
            None => Err(Refusal::NoAlias {
                alias: alias.clone(),
            }),
        }
    }

    fn roll_back(&mut self, to: Option<&wanted::Revision>) -> Result<Vec<u64>, Refusal> {
        let number = match to {
            Some(wanted) => wanted.find(&self.known()).map_err(NotSplit::from)?,
            None => {
                let before = self.before.filter(|before| {
                    self.live.only() != Some(*before)
                        && self.known().iter().any(|(number, _)| number == before)
                });
                before.ok_or(Refusal::NothingBefore)?
            }
        };
        self.go_live(Split::whole(number));
        Ok(vec![number])
    }

    fn go_live(&mut self, split: Split) {
        if let Some(only) = self.live.only()
            && split != self.live
        {
            self.before = Some(only);
        }
        self.live = split;
    }

    /// Puts the record together; what nothing names and is too old is kept no more.
    fn settle(self, old: &FunctionRecord, now_us: u64) -> FunctionRecord {
        let main = self.live.main();
        let mut record = FunctionRecord {
            updated_us: now_us,
            kept: Vec::new(),
            live: (self.live.only() != Some(main)).then_some(self.live),
            aliases: self.aliases,
            before: self.before,
            staged: None,
            ..old.clone()
        };
        let (current, others) = self
            .whole
            .into_iter()
            .partition(|kept| kept.revision.number == main);
        let current: Vec<KeptRevision> = current;
        if let Some(current) = current.into_iter().next() {
            record.deployed_us = Some(current.deployed_us);
            record.current = current.revision;
        }
        record.staged = self.staged.filter(|staged| {
            let named = record.named();
            !named.contains(staged)
        });
        record.kept = trim(others, &record);
        let kept: BTreeSet<_> = record
            .kept
            .iter()
            .map(|kept| kept.revision.number)
            .collect();
        let past = self.past.into_values().rev();
        let past = past.filter(|past| past.number != record.current.number);
        record.history = past
            .enumerate()
            .filter(|(at, past)| *at < HISTORY_MAX || kept.contains(&past.number))
            .map(|(_, past)| past)
            .collect();
        record
    }
}

/// Of these, newest first: what is named, and as many others as have room.
fn trim(others: Vec<KeptRevision>, record: &FunctionRecord) -> Vec<KeptRevision> {
    let mut named = record.named();
    named.extend(record.before);
    let mut bytes = 0;
    let mut full = false;
    let kept = others.into_iter().enumerate().filter(|(at, kept)| {
        if named.contains(&kept.revision.number) {
            return true;
        }
        // What cannot be written as JSON could not be stored either; its record is refused.
        let size = serde_json::to_vec(kept).map_or(0, |json| json.len());
        bytes += size;
        full = full || *at >= RESTORABLE_MAX || bytes > KEPT_MAX_BYTES;
        !full
    });
    kept.map(|(_, kept)| kept).collect()
}

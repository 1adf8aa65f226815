//! What the backbone keeps of a function, and under which key.
//!
//! ```text
//!   revisions   v9  v8  v7  v6 … v1     whole: the main one (`current`) and those in `kept`
//!   pointers    live, aliases           splits over numbers; the bare name means live
//!               before, staged          where a roll back leads; ready, without traffic
//! ```
//!
//! Invariant: whatever a pointer names is kept whole, so that it can serve without an upload.
//!
//! A record of an earlier version has `current` and the ids of its `history` only. It opens as a
//! function whose one revision gets all traffic. Deliberately absent: changing a record
//! (`usher-controller`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use usher_core::function::Revision;
use usher_core::id::{FunctionKey, Name, RevisionId};
use usher_core::traffic::{Alias, Split};

/// All function records stand under this prefix, so that a gateway can watch them all. Keys of a
/// backbone are tokens joined by dots, which names do not have.
pub const FUNCTIONS_PREFIX: &str = "functions.";

/// A function as the backbone keeps it: one key-value entry, changed by compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// Whose and what.
    pub key: FunctionKey,
    /// The revision that requests go to; of several the one with the largest share.
    pub current: Revision,
    /// Ids and numbers of the other revisions, newest first, at most [`HISTORY_MAX`].
    pub history: Vec<PastRevision>,
    /// When the function was first deployed, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was last changed.
    pub updated_us: u64,
    /// When `current` was deployed; none: when the function was last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployed_us: Option<u64>,
    /// Other revisions that can serve, whole, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptRevision>,
    /// What the bare name serves; none: `current` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Split>,
    /// What other names serve.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aliases: BTreeMap<Alias, Split>,
    /// The revision that had all traffic of the bare name last, before what has it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// The revision that was deployed last without traffic and is named by nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<u64>,
}

/// How many other revisions a record names.
pub const HISTORY_MAX: usize = 50;

/// How many other revisions can be restored at least, the newest ones, within
/// [`KEPT_MAX_BYTES`].
pub const RESTORABLE_MAX: usize = 10;

/// What the whole revisions that nothing names may take in a record, in bytes: a value of the
/// backbone has a bound, and settings can be large.
pub const KEPT_MAX_BYTES: usize = 128 << 10;

/// Most aliases of a function.
pub const ALIASES_MAX: usize = 16;

/// Another revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRevision {
    /// Its id.
    pub id: RevisionId,
    /// Its number.
    pub number: u64,
    /// When it was deployed, in microseconds since the Unix epoch.
    pub deployed_us: u64,
}

/// Another revision, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptRevision {
    /// The revision.
    pub revision: Revision,
    /// When it was deployed, in microseconds since the Unix epoch.
    pub deployed_us: u64,
}

impl FunctionRecord {
    /// The record of a function that was just deployed for the first time.
    pub fn first(revision: Revision, now_us: u64) -> Self {
        Self {
            key: revision.function.clone(),
            current: revision,
            history: Vec::new(),
            created_us: now_us,
            updated_us: now_us,
            deployed_us: Some(now_us),
            kept: Vec::new(),
            live: None,
            aliases: BTreeMap::new(),
            before: None,
            staged: None,
        }
    }

    /// What the bare name serves.
    pub fn live(&self) -> Split {
        let live = self.live.clone();
        live.unwrap_or_else(|| Split::whole(self.current.number))
    }

    /// What an alias serves; `live` is one.
    pub fn alias(&self, alias: &Alias) -> Option<Split> {
        match alias.is_live() {
            true => Some(self.live()),
            false => self.aliases.get(alias).cloned(),
        }
    }

    /// When `current` was deployed, in microseconds since the Unix epoch.
    pub fn current_deployed_us(&self) -> u64 {
        self.deployed_us.unwrap_or(self.updated_us)
    }

    /// All revisions that can serve, whole, newest first.
    pub fn revisions(&self) -> Vec<&Revision> {
        let kept = self.kept.iter().map(|kept| &kept.revision);
        let mut all: Vec<_> = kept.chain([&self.current]).collect();
        all.sort_by_key(|revision| std::cmp::Reverse(revision.number));
        all
    }

    /// A revision that can serve, by its number.
    pub fn revision(&self, number: u64) -> Option<&Revision> {
        self.revisions()
            .into_iter()
            .find(|revision| revision.number == number)
    }

    /// Numbers and ids of all revisions that can serve, newest first.
    pub fn known(&self) -> Vec<(u64, RevisionId)> {
        let revisions = self.revisions().into_iter();
        revisions
            .map(|revision| (revision.number, revision.id))
            .collect()
    }

    /// The revisions that can be asked for by somebody, or are ready for it; newest first.
    pub fn in_service(&self) -> Vec<&Revision> {
        let named = self.named();
        let revisions = self.revisions().into_iter();
        revisions
            .filter(|revision| named.contains(&revision.number))
            .collect()
    }

    /// Whether a revision of this id is in service.
    pub fn serves(&self, id: RevisionId) -> bool {
        self.in_service().iter().any(|revision| revision.id == id)
    }

    /// The numbers that `live`, an alias or `staged` names.
    pub fn named(&self) -> BTreeSet<u64> {
        let live = self.live();
        let splits = self.aliases.values().chain([&live]);
        let shares = splits.flat_map(|split| split.shares().iter().map(|share| share.revision));
        shares.chain(self.staged).collect()
    }
}

/// The key of a function's record.
pub fn function_key(key: &FunctionKey) -> String {
    format!("{FUNCTIONS_PREFIX}{}.{}", key.owner, key.name)
}

/// All records of one owner stand under this prefix.
pub fn owner_prefix(owner: &Name) -> String {
    format!("{FUNCTIONS_PREFIX}{owner}.")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// A record as the version before aliases wrote it.
    const OLD: &str = r#"{
        "key": {"owner": "default", "name": "hello"},
        "current": {
            "id": "0101010101010101010101010101010101010101010101010101010101010101",
            "function": {"owner": "default", "name": "hello"},
            "number": 3,
            "artifact": "0202020202020202020202020202020202020202020202020202020202020202",
            "settings": {"isolation": "request"}
        },
        "history": [{
            "id": "0303030303030303030303030303030303030303030303030303030303030303",
            "number": 2, "deployed_us": 7
        }],
        "created_us": 5,
        "updated_us": 9
    }"#;

    #[test]
    fn a_record_of_an_earlier_version_opens_and_serves_its_revision() {
        let record: FunctionRecord = serde_json::from_str(OLD).unwrap();
        assert_eq!(record.live(), Split::whole(3));
        assert_eq!(record.current_deployed_us(), 9);
        assert_eq!(record.known(), [(3, record.current.id)]);
        assert_eq!(record.in_service(), [&record.current]);
        assert!(record.revision(2).is_none(), "only its id is known");
        let again = serde_json::to_value(&record).unwrap();
        let fields: Vec<_> = again.as_object().unwrap().keys().cloned().collect();
        // What is not used is not written, so that an earlier version reads it too.
        let old: serde_json::Value = serde_json::from_str(OLD).unwrap();
        let then: Vec<_> = old.as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, then);
    }

    #[test]
    fn what_is_named_is_in_service_and_nothing_else() {
        let mut record: FunctionRecord = serde_json::from_str(OLD).unwrap();
        for number in [7, 6, 5, 4, 2] {
            let mut revision = record.current.clone();
            revision.number = number;
            record.kept.push(KeptRevision {
                revision,
                deployed_us: 1,
            });
        }
        record
            .aliases
            .insert("canary".parse().unwrap(), Split::whole(5));
        record.before = Some(2);
        record.staged = Some(7);
        let numbers = |revisions: Vec<&Revision>| -> Vec<_> {
            revisions.iter().map(|revision| revision.number).collect()
        };
        assert_eq!(numbers(record.in_service()), [7, 5, 3]);
        assert_eq!(numbers(record.revisions()), [7, 6, 5, 4, 3, 2]);
    }
}

//! What the backbone keeps of a function, and under which key.

use serde::{Deserialize, Serialize};
use usher_core::function::Revision;
use usher_core::id::{FunctionKey, Name, RevisionId};

/// All function records stand under this prefix, so that a gateway can watch them all. Keys of a
/// backbone are tokens joined by dots, which names do not have.
pub const FUNCTIONS_PREFIX: &str = "functions.";

/// A function as the backbone keeps it: one key-value entry, changed by compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionRecord {
    /// Whose and what.
    pub key: FunctionKey,
    /// The revision that requests go to.
    pub current: Revision,
    /// Ids and numbers of earlier revisions, newest first, at most [`HISTORY_MAX`].
    pub history: Vec<PastRevision>,
    /// When the function was first deployed, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was last changed.
    pub updated_us: u64,
}

/// How many earlier revisions a record names.
pub const HISTORY_MAX: usize = 50;

/// An earlier revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastRevision {
    /// Its id.
    pub id: RevisionId,
    /// Its number.
    pub number: u64,
    /// When it was deployed, in microseconds since the Unix epoch.
    pub deployed_us: u64,
}

/// The key of a function's record.
pub fn function_key(key: &FunctionKey) -> String {
    format!("{FUNCTIONS_PREFIX}{}.{}", key.owner, key.name)
}

/// All records of one owner stand under this prefix.
pub fn owner_prefix(owner: &Name) -> String {
    format!("{FUNCTIONS_PREFIX}{owner}.")
}

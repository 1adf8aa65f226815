//! The bodies of the API that are about revisions, aliases and traffic, as JSON.
//!
//! Deliberately absent: routes and status codes (`usher-controller`), and how traffic is shared out
//! (`usher_core::traffic`).

use serde::{Deserialize, Serialize};
use usher_core::id::{Digest, RevisionId};
use usher_core::traffic::wanted::{Revision, Wanted};
use usher_core::traffic::{Alias, Split};

use crate::http::FunctionView;
use crate::node::RevisionStatus;
use crate::record::FunctionRecord;

/// The body of `PUT /v1/functions/NAME/traffic` and `PUT /v1/functions/NAME/aliases/ALIAS`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrafficRequest {
    /// Who gets how much.
    pub revisions: Vec<Wanted>,
}

/// The body of `POST /v1/functions/NAME/rollback`; an empty body is one too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackRequest {
    /// Which revision is to serve; none: what served before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Revision>,
}

/// What a change of traffic came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Whether it was so before, so that nothing was changed.
    pub unchanged: bool,
    /// The function as it stands now.
    pub function: FunctionView,
}

/// One revision's share of traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareView {
    /// The revision's number.
    pub revision: u64,
    /// Its id.
    pub id: RevisionId,
    /// Its parts of the whole; percent, unless all together are more than a hundred.
    pub weight: u32,
}

/// An alias of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasView {
    /// The alias.
    pub alias: Alias,
    /// What it serves.
    pub traffic: Vec<ShareView>,
    /// Where it answers.
    pub urls: Vec<String>,
}

/// The answer to `GET /v1/functions/NAME/aliases`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aliases {
    /// All there are, `live` first.
    pub aliases: Vec<AliasView>,
}

/// A revision that can serve, or could once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionView {
    /// Its number.
    pub number: u64,
    /// Its id.
    pub id: RevisionId,
    /// When it was deployed, in microseconds since the Unix epoch.
    pub deployed_us: u64,
    /// Whether it is kept whole, so that traffic can go to it at once.
    pub restorable: bool,
    /// Its artifact, where it is restorable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Digest>,
    /// What it gets of each alias's traffic, `live` first.
    pub traffic: Vec<AliasShare>,
    /// Whether it was deployed without traffic and waits for some.
    #[serde(default)]
    pub staged: bool,
    /// How it stands on the node.
    #[serde(default)]
    pub status: RevisionStatus,
}

/// A share of an alias's traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasShare {
    /// Whose traffic.
    pub alias: Alias,
    /// How many parts of it.
    pub weight: u32,
    /// Of how many.
    pub of: u32,
}

/// The shares of a split, for people and programs that look.
pub fn shares(record: &FunctionRecord, split: &Split) -> Vec<ShareView> {
    let shares = split.shares().iter();
    shares
        .filter_map(|share| {
            Some(ShareView {
                revision: share.revision,
                id: record.revision(share.revision)?.id,
                weight: share.weight,
            })
        })
        .collect()
}

/// All revisions of a function, newest first; `status` says how one stands on the node.
pub fn revisions(
    record: &FunctionRecord,
    status: impl Fn(RevisionId) -> RevisionStatus,
) -> Vec<RevisionView> {
    let live = record.live();
    let pointers: Vec<_> = std::iter::once((Alias::live(), &live))
        .chain(
            record
                .aliases
                .iter()
                .map(|(alias, split)| (alias.clone(), split)),
        )
        .collect();
    let traffic = |number| {
        let shares = pointers.iter().flat_map(|(alias, split)| {
            let share = split.shares().iter().find(|share| share.revision == number);
            share.map(|share| AliasShare {
                alias: alias.clone(),
                weight: share.weight,
                of: split.total(),
            })
        });
        shares.collect()
    };
    let current = (
        record.current.id,
        record.current.number,
        record.current_deployed_us(),
    );
    let past = record.history.iter();
    let past = past.map(|past| (past.id, past.number, past.deployed_us));
    let mut all: Vec<_> = std::iter::once(current)
        .chain(past)
        .map(|(id, number, deployed_us)| RevisionView {
            number,
            id,
            deployed_us,
            restorable: record.revision(number).is_some(),
            artifact: record.revision(number).map(|revision| revision.artifact),
            traffic: traffic(number),
            staged: record.staged == Some(number),
            status: status(id),
        })
        .collect();
    all.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    all
}

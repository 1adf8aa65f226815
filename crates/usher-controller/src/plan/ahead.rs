//! How many environments are to stand ready before traffic moves.
//!
//! Deliberately absent: starting them (the node).

use std::collections::{BTreeMap, BTreeSet};

use usher_api::record::FunctionRecord;
use usher_core::id::RevisionId;
use usher_core::traffic::{Alias, Split};

/// For each pointer that moves: as many environments as its old revisions have together, shared out
/// by the new weights, and at most `ahead_max` of one revision. Those that have as many already are
/// left out.
pub(crate) fn ahead(
    old: &FunctionRecord,
    new: &FunctionRecord,
    environments: impl Fn(RevisionId) -> u32,
    ahead_max: u32,
) -> BTreeMap<RevisionId, u32> {
    let mut wanted: BTreeMap<RevisionId, u32> = BTreeMap::new();
    for (alias, split) in pointers(new) {
        let Some(before) = old.alias(&alias).filter(|before| *before != split) else {
            continue;
        };
        let served: BTreeSet<_> = ids(old, &before).map(|(id, _)| id).collect();
        let had = served.into_iter().map(&environments);
        let had = u64::from(had.fold(0, u32::saturating_add));
        let total = u64::from(split.total());
        for (id, weight) in ids(new, &split) {
            let share = (had * u64::from(weight)).div_ceil(total);
            let share = u32::try_from(share).unwrap_or(u32::MAX).min(ahead_max);
            let most = wanted.entry(id).or_default();
            *most = share.max(*most);
        }
    }
    wanted.retain(|id, wanted| *wanted > environments(*id));
    wanted
}

fn pointers(record: &FunctionRecord) -> impl Iterator<Item = (Alias, Split)> {
    let aliases = record.aliases.clone().into_iter();
    aliases.chain([(Alias::live(), record.live())])
}

fn ids<'a>(
    record: &'a FunctionRecord,
    split: &'a Split,
) -> impl Iterator<Item = (RevisionId, u32)> + 'a {
    let shares = split.shares().iter();
    shares.filter_map(|share| Some((record.revision(share.revision)?.id, share.weight)))
}

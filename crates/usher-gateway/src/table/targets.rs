//! What a name of a function means: one revision, or several with their shares of the traffic.
//!
//! Deliberately absent: sharing out, which `usher_core::traffic` does; here is where the number of
//! chance and the request's key come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use usher_core::key::KeySource;
use usher_core::traffic::{Point, Split};

use super::Entry;
use crate::head;

/// See the module.
#[derive(Debug)]
pub(crate) struct Targets {
    split: Split,
    /// By the split's shares; never empty.
    entries: Vec<Arc<Entry>>,
    /// Where the newest of the revisions that keep state by key reads a request's key.
    key: Option<KeySource>,
}

impl Targets {
    /// All to one.
    pub(crate) fn one(entry: Arc<Entry>) -> Self {
        Self {
            split: Split::whole(entry.revision.number),
            key: None,
            entries: vec![entry],
        }
    }

    /// The split's revisions out of `entries`, by their numbers; none: one is not there.
    pub(crate) fn new(split: Split, entries: &BTreeMap<u64, Arc<Entry>>) -> Option<Self> {
        let shares = split.shares().iter();
        let entries: Option<Vec<_>> = shares
            .map(|share| entries.get(&share.revision).cloned())
            .collect();
        let entries = entries?;
        let keyed = entries.iter().rev();
        let mut keyed = keyed.filter_map(|entry| entry.revision.settings.isolation.key());
        let key = keyed.next().cloned();
        Some(Self {
            split,
            entries,
            key,
        })
    }

    /// Whom a request with this head gets. State that is kept by key is kept per revision, so the
    /// same key always gets the same one; a request without a key that can be read is refused
    /// later, by whichever revision needs one.
    pub(crate) fn choose(&self, headers: &HeaderMap) -> Option<&Arc<Entry>> {
        if let [only] = &self.entries[..] {
            return Some(only);
        }
        let key = self.key.as_ref();
        let key = key.and_then(|source| head::key(headers, source).ok());
        let point = match &key {
            Some(key) => Point::of_key(key),
            None => Point::random(rand::random()),
        };
        self.entries.get(self.split.pick(point))
    }
}

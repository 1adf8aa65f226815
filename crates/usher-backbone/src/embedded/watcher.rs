//! Following the mirror: a watcher holds a place in the log, not a queue of its own.
//!
//! ```text
//!   Behind ──look at all entries──► Following ──the log no longer reaches back──► Behind
//! ```
//!
//! A new watcher is one that is behind and knows nothing yet. Looking at all entries tells only
//! what differs from what was told before, the disappearance of keys included, so that nobody
//! downstream has to treat it as a special case.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::Shared;
use super::mirror::Mirror;
use crate::key_value::{Entry, Event, Watch, WatchAfterError};

/// How many changes are taken from the log at a time, which bounds how long a watcher keeps the
/// mirror locked and how many values it holds beside the log.
const READ_MAX_OPS: usize = 64;

pub(super) struct Watcher {
    shared: Arc<Shared>,
    published: watch::Receiver<u64>,
    prefix: String,
    /// The last write that was looked at; `None`: not one yet.
    at: Option<u64>,
    /// What the other side knows: its keys, at which revision.
    known: BTreeMap<Arc<str>, u64>,
    ready: VecDeque<Event>,
}

impl Watcher {
    pub(super) fn from_the_start(shared: Arc<Shared>, prefix: &str) -> Self {
        let published = shared.published.clone();
        Self {
            shared,
            published,
            prefix: prefix.to_owned(),
            at: None,
            known: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// One whose other side knows what there was at `revision`.
    pub(super) fn after(
        shared: Arc<Shared>,
        prefix: &str,
        revision: u64,
    ) -> Result<Self, WatchAfterError> {
        let mut watcher = Self::from_the_start(shared.clone(), prefix);
        let mirror = shared.mirror.read();
        if revision > mirror.revision() {
            return Err(WatchAfterError::Future {
                wanted: revision,
                last: mirror.revision(),
            });
        }
        let Some(later) = mirror.written_after(revision) else {
            return Err(WatchAfterError::Compacted {
                wanted: revision,
                oldest: mirror.log_after(),
            });
        };
        let older = mirror
            .below(prefix)
            .filter(|(_, slot)| slot.revision <= revision);
        watcher
            .known
            .extend(older.map(|(key, slot)| (key.clone(), slot.revision)));
        // All of the later ones are taken at once: there may be no second chance.
        for written in later.filter(|written| written.key.starts_with(prefix)) {
            watcher.tell(written.event());
        }
        let revision = mirror.revision();
        watcher.tell(Event::Current { revision });
        watcher.at = Some(revision);
        drop(mirror);
        Ok(watcher)
    }

    pub(super) fn into_stream(self) -> Watch {
        stream::unfold(self, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        })
        .boxed()
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            // Marked as seen before looking, so that what comes after the look wakes again.
            self.published.borrow_and_update();
            if !self.look() && self.published.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Takes what is new; says whether there was anything to look at.
    fn look(&mut self) -> bool {
        let shared = self.shared.clone();
        let mirror = shared.mirror.read();
        if self.at == Some(mirror.revision()) {
            return false;
        }
        match self.at.and_then(|at| mirror.written_after(at)) {
            None => self.compare(&mirror),
            Some(later) => {
                for written in later.take(READ_MAX_OPS) {
                    self.at = Some(written.revision);
                    if written.key.starts_with(&self.prefix) {
                        self.tell(written.event());
                    }
                }
            }
        }
        true
    }

    /// Tells how the entries differ from what is known.
    fn compare(&mut self, mirror: &Mirror) {
        let mut gone = std::mem::take(&mut self.known);
        let mut changed = Vec::new();
        for (key, slot) in mirror.below(&self.prefix) {
            let before = gone.remove(key);
            self.known.insert(key.clone(), slot.revision);
            if before != Some(slot.revision) {
                changed.push(Entry {
                    key: key.clone(),
                    value: slot.value.clone(),
                    revision: slot.revision,
                });
            }
        }
        changed.sort_by_key(|entry| entry.revision);
        let revision = mirror.revision();
        let gone = gone.into_keys().map(|key| Event::Delete { key, revision });
        self.ready.extend(changed.into_iter().map(Event::Put));
        self.ready.extend(gone);
        self.ready.push_back(Event::Current { revision });
        self.at = Some(revision);
    }

    fn tell(&mut self, event: Event) {
        match &event {
            Event::Put(entry) => {
                self.known.insert(entry.key.clone(), entry.revision);
            }
            Event::Delete { key, .. } => {
                self.known.remove(key);
            }
            Event::Current { .. } => {}
        }
        self.ready.push_back(event);
    }
}

//! A table of records below one prefix, kept as the backbone has them.
//!
//! ```text
//!   backbone ──watch──► follow ──► next table ──swap──► readers (one atomic load each)
//!                                      └──► applied: the write that readers now see
//! ```
//!
//! When the backbone goes away, what was last known stays. A record that cannot be read changes
//! nothing. Deliberately absent: what the records mean.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::key_value::{Event, KeyValue, ReadError};

/// How many changes are made in one new table at most.
const CHANGES_AT_ONCE_MAX: usize = 1_024;

type Records<T> = HashMap<Box<str>, Arc<T>>;

/// See the module.
pub struct Watched<T> {
    prefix: &'static str,
    records: ArcSwap<Records<T>>,
    applied: watch::Sender<u64>,
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({})", self.prefix)
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Watched<T> {
    /// An empty table of what stands below `prefix`, until it follows a backbone.
    pub fn new(prefix: &'static str) -> Self {
        Self {
            prefix,
            records: ArcSwap::from_pointee(Records::new()),
            applied: watch::Sender::new(0),
        }
    }

    /// The record of this name, which is its key without the prefix.
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        let records = self.records.load();
        // Most platforms have no such records, and then not even a hash is made.
        match records.is_empty() {
            true => None,
            false => records.get(name).cloned(),
        }
    }

    /// The last write of the backbone that readers see.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Follows the backbone until it closes.
    ///
    /// # Errors
    /// If the watch cannot begin.
    pub async fn follow(&self, store: &(impl KeyValue + ?Sized)) -> Result<(), ReadError> {
        let events = store.watch(self.prefix).await?;
        let mut changes = events.ready_chunks(CHANGES_AT_ONCE_MAX);
        while let Some(events) = changes.next().await {
            let mut next = Records::clone(&self.records.load());
            let mut applied = *self.applied.borrow();
            for event in events {
                applied = applied.max(self.apply(&mut next, event));
            }
            self.records.store(Arc::new(next));
            self.applied.send_replace(applied);
        }
        Ok(())
    }

    fn apply(&self, next: &mut Records<T>, event: Event) -> u64 {
        let name = |key: &str| key.strip_prefix(self.prefix).map(Box::<str>::from);
        match event {
            Event::Put(entry) => {
                match (name(&entry.key), serde_json::from_slice(&entry.value)) {
                    (Some(name), Ok(record)) => {
                        next.insert(name, Arc::new(record));
                    }
                    (_, Err(error)) => tracing::error!(
                        key = %entry.key, %error, "a record cannot be read and is passed over"
                    ),
                    (None, Ok(_)) => {}
                }
                entry.revision
            }
            Event::Delete { key, revision } => {
                if let Some(name) = name(&key) {
                    next.remove(&name);
                }
                revision
            }
            Event::Current { revision } => revision,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Embedded, Limits};

    #[tokio::test]
    async fn readers_see_what_is_written_once_it_is_applied() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(folder.path(), Limits::default()).unwrap());
        store.put("a.one", Bytes::from("1")).await.unwrap();
        let table = Arc::new(Watched::<u32>::new("a."));
        assert_eq!(table.get("one"), None);
        let following = tokio::spawn({
            let (table, store) = (Arc::clone(&table), Arc::clone(&store));
            async move { table.follow(&*store).await }
        });
        let mut applied = table.applied();
        let mut seen = async |revision| {
            applied.wait_for(|it| *it >= revision).await.unwrap();
            (
                table.get("one").as_deref().copied(),
                table.get("two").as_deref().copied(),
            )
        };
        let revision = store.put("a.two", Bytes::from("2")).await.unwrap();
        assert_eq!(seen(revision).await, (Some(1), Some(2)));
        let revision = store.put("a.two", Bytes::from("no number")).await.unwrap();
        assert_eq!(seen(revision).await, (Some(1), Some(2)));
        let revision = store.delete("a.one", None).await.unwrap();
        assert_eq!(seen(revision).await, (None, Some(2)));
        following.abort();
    }
}

//! All entries in memory, and the last changes: what readers read and watchers follow.
//!
//! Pure data: the writer stages batches against it ([`Staged`]), puts them on the disk, and only
//! then publishes them here, so that nobody sees what a crash could take back.
//!
//! Deliberately absent: the disk, tasks, locks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::Limits;
use super::store::Loaded;
use crate::key_value::{Change, Entry, Event, Expect, Listing, Op, WriteError};

/// What an entry costs in memory beside its key and value, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// A value and the write that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) value: Bytes,
    pub(super) revision: u64,
}

/// One write: the new value of a key, or its end.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) key: Arc<str>,
    pub(super) value: Option<Bytes>,
    pub(super) revision: u64,
}

impl Written {
    pub(super) fn event(&self) -> Event {
        let key = self.key.clone();
        let revision = self.revision;
        match self.value.clone() {
            Some(value) => Event::Put(Entry {
                key,
                value,
                revision,
            }),
            None => Event::Delete { key, revision },
        }
    }

    fn bytes(&self) -> usize {
        cost(&self.key, self.value.as_ref().map_or(0, Bytes::len))
    }
}

fn cost(key: &str, value_bytes: usize) -> usize {
    key.len() + value_bytes + ENTRY_OVERHEAD_BYTES
}

/// The published state. Invariant: `log` holds every write after `log_after` up to `revision`.
pub(super) struct Mirror {
    entries: BTreeMap<Arc<str>, Slot>,
    entries_bytes: usize,
    revision: u64,
    log: VecDeque<Written>,
    log_bytes: usize,
    log_after: u64,
    store_max_bytes: usize,
    watch_log_max_ops: usize,
    watch_log_max_bytes: usize,
}

impl Mirror {
    pub(super) fn new(loaded: Loaded, limits: &Limits) -> Self {
        let mut mirror = Self {
            entries: BTreeMap::new(),
            entries_bytes: 0,
            revision: 0,
            log: VecDeque::new(),
            log_bytes: 0,
            log_after: 0,
            store_max_bytes: limits.store_max_bytes,
            watch_log_max_ops: limits.watch_log_max_ops,
            watch_log_max_bytes: limits.watch_log_max_bytes,
        };
        mirror.replace(loaded);
        mirror
    }

    /// Takes over what the disk holds. Watchers find the log gone and look at the entries anew.
    pub(super) fn replace(&mut self, loaded: Loaded) {
        self.revision = loaded.revision;
        self.log_after = loaded.revision;
        self.log.clear();
        self.log_bytes = 0;
        let costs = loaded
            .entries
            .iter()
            .map(|(k, slot)| cost(k, slot.value.len()));
        self.entries_bytes = costs.sum();
        self.entries = loaded.entries;
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The oldest revision after which every write is still in the log.
    pub(super) fn log_after(&self) -> u64 {
        self.log_after
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        let (key, slot) = self.entries.get_key_value(key)?;
        Some(entry(key, slot))
    }

    pub(super) fn list(&self, prefix: &str) -> Listing {
        Listing {
            entries: self
                .below(prefix)
                .map(|(key, slot)| entry(key, slot))
                .collect(),
            revision: self.revision,
        }
    }

    /// The entries whose keys begin with `prefix`, by key.
    pub(super) fn below<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Slot)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self.entries.range::<str, _>(from);
        entries.take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The writes after `revision`, oldest first; `None` if the log no longer holds them all.
    pub(super) fn written_after(&self, revision: u64) -> Option<impl Iterator<Item = &Written>> {
        let skip = revision.checked_sub(self.log_after)?;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Some(self.log.iter().skip(skip))
    }

    /// Makes visible what is on the disk now.
    pub(super) fn publish(&mut self, writes: Vec<Written>) {
        for written in writes {
            self.revision = written.revision;
            let old = match written.value.clone() {
                Some(value) => {
                    self.entries_bytes += cost(&written.key, value.len());
                    let revision = written.revision;
                    let slot = Slot { value, revision };
                    self.entries.insert(written.key.clone(), slot)
                }
                None => self.entries.remove(&written.key),
            };
            if let Some(old) = old {
                self.entries_bytes -= cost(&written.key, old.value.len());
            }
            self.log_bytes += written.bytes();
            self.log.push_back(written);
        }
        while self.log.len() > self.watch_log_max_ops || self.log_bytes > self.watch_log_max_bytes {
            let Some(forgotten) = self.log.pop_front() else {
                break;
            };
            self.log_bytes -= forgotten.bytes();
            self.log_after = forgotten.revision;
        }
    }
}

fn entry(key: &Arc<str>, slot: &Slot) -> Entry {
    Entry {
        key: key.clone(),
        value: slot.value.clone(),
        revision: slot.revision,
    }
}

/// Batches on their way to the disk in one transaction, each judged as if those before it were
/// written already.
pub(super) struct Staged<'a> {
    mirror: &'a Mirror,
    writes: Vec<Written>,
    /// Of the keys in `writes`: revision and cost of the entry, or that there is none.
    changed: HashMap<Arc<str>, Option<(u64, usize)>>,
    revision: u64,
    bytes: usize,
}

impl<'a> Staged<'a> {
    pub(super) fn on(mirror: &'a Mirror) -> Self {
        Self {
            mirror,
            writes: Vec::new(),
            changed: HashMap::new(),
            revision: mirror.revision,
            bytes: mirror.entries_bytes,
        }
    }

    /// Adds all of `batch`, or nothing of it. Returns the revision of its last op. The keys of a
    /// batch are distinct, so its expectations can all be judged before its first write.
    pub(super) fn add(&mut self, batch: Vec<Op>) -> Result<u64, WriteError> {
        let mut bytes = self.bytes;
        for op in &batch {
            let current = self.current(&op.key);
            let holds = match op.expect {
                Expect::Any => true,
                Expect::Absent => current.is_none(),
                Expect::Revision(wanted) => current.is_some_and(|(at, _)| at == wanted),
            };
            if !holds {
                return Err(WriteError::Conflict {
                    key: op.key.clone(),
                    current: current.map(|(revision, _)| revision),
                });
            }
            bytes -= current.map_or(0, |(_, bytes)| bytes);
            if let Change::Put(value) = &op.change {
                bytes += cost(&op.key, value.len());
            }
        }
        let max_bytes = self.mirror.store_max_bytes;
        // A store above its bound, because the bound was lowered, can still be emptied.
        if bytes > max_bytes && bytes > self.bytes {
            return Err(WriteError::StoreFull { max_bytes });
        }
        self.bytes = bytes;
        for op in batch {
            self.write(op);
        }
        Ok(self.revision)
    }

    /// What the disk must hold next, and the revision it is then at.
    pub(super) fn into_writes(self) -> Vec<Written> {
        self.writes
    }

    fn current(&self, key: &str) -> Option<(u64, usize)> {
        match self.changed.get(key) {
            Some(current) => *current,
            None => {
                let slot = self.mirror.entries.get(key)?;
                Some((slot.revision, cost(key, slot.value.len())))
            }
        }
    }

    fn write(&mut self, op: Op) {
        self.revision += 1;
        let revision = self.revision;
        let key: Arc<str> = op.key.into();
        let value = match op.change {
            Change::Put(value) => Some(value),
            Change::Delete => None,
        };
        let now = value.as_ref().map(|v| (revision, cost(&key, v.len())));
        self.changed.insert(key.clone(), now);
        self.writes.push(Written {
            key,
            value,
            revision,
        });
    }
}

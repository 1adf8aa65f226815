//! The table of functions: which revision answers, with which counters and bounds.
//!
//! ```text
//!   backbone ──watch──► follow ──► next table ──swap──► requests (one atomic load each)
//!                                      └──► applied: the write that requests now see
//! ```
//!
//! One table replaces another whole, so a request sees one revision of one function from its
//! first look to its end. When the backbone goes away, what was last known goes on serving.
//!
//! Deliberately absent: asking the backbone for a function that is not in the table. Who deploys
//! waits for [`RouteTable::applied`] before the deployment is acknowledged, so what is not here
//! does not exist.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use futures_util::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use usher_api::record::{FUNCTIONS_PREFIX, FunctionRecord};
use usher_backbone::{Event, KeyValue, ReadError};
use usher_core::admit::PerFunction;
use usher_core::function::Revision;
use usher_core::id::{FunctionKey, Name};

use crate::door::Slot;
use crate::meter::Meter;
use crate::rules::{Owner, Rules};

/// How many changes are made in one new table at most.
const CHANGES_AT_ONCE_MAX: usize = 1_024;

/// Which functions a gateway serves.
pub struct RouteTable {
    routes: ArcSwap<Routes>,
    writer: Mutex<Writer>,
    applied: watch::Sender<u64>,
    /// What holds for owners and their callers.
    pub(crate) rules: Rules,
}

/// Why the table cannot follow the backbone.
#[derive(Debug, thiserror::Error)]
#[error("the functions cannot be watched")]
pub struct FollowError(#[from] ReadError);

/// One function as requests see it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) revision: Arc<Revision>,
    pub(crate) bounds: PerFunction,
    pub(crate) slot: Slot,
    pub(crate) owner: Arc<Owner>,
    pub(crate) meter: Arc<Meter>,
}

/// Who answers.
#[derive(Clone)]
pub(crate) enum Routes {
    /// One function answers everything.
    Single(Arc<Entry>),
    /// Whom the address names.
    Named(HashMap<FunctionKey, Arc<Entry>>),
}

#[derive(Default)]
struct Writer {
    slots_given: u64,
    owners: HashMap<Name, Arc<Owner>>,
    /// By the key under which the backbone keeps them, which is all that a deletion tells.
    stored: HashMap<Arc<str>, FunctionKey>,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteTable {
    /// An empty table: every request is answered with 404. No owner has quotas, and no key is
    /// known.
    pub fn new() -> Self {
        Self::with(Rules::default())
    }

    /// The same, where owners are held to their quotas and callers to keys.
    pub fn with(rules: Rules) -> Self {
        Self {
            routes: ArcSwap::from_pointee(Routes::Named(HashMap::new())),
            writer: Mutex::default(),
            applied: watch::Sender::new(0),
            rules,
        }
    }

    /// The last write of the backbone that requests see. Whoever writes a function's record and
    /// waits for the record's revision here knows that the next request meets it.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// From now on this revision answers every request, whatever its address.
    pub fn serve_single(&self, revision: Revision) {
        let mut writer = self.writer.lock();
        let known = match &**self.routes.load() {
            Routes::Single(entry) if entry.revision.function == revision.function => {
                Some(Arc::clone(entry))
            }
            _ => None,
        };
        let entry = writer.entry(revision, known.as_deref());
        self.routes.store(Arc::new(Routes::Single(entry)));
    }

    /// From now on this revision answers for its function.
    pub fn put(&self, revision: Revision) {
        let mut writer = self.writer.lock();
        let mut next = self.named();
        writer.put(&mut next, revision);
        self.routes.store(Arc::new(Routes::Named(next)));
    }

    /// From now on nothing answers for this function. Requests in flight go on.
    pub fn remove(&self, function: &FunctionKey) {
        let _writer = self.writer.lock();
        let mut next = self.named();
        next.remove(function);
        self.routes.store(Arc::new(Routes::Named(next)));
    }

    /// Follows the functions in the backbone until the backbone closes.
    ///
    /// # Errors
    /// If the watch cannot begin.
    pub async fn follow(&self, store: &(impl KeyValue + ?Sized)) -> Result<(), FollowError> {
        let events = store.watch(FUNCTIONS_PREFIX).await?;
        let mut changes = events.ready_chunks(CHANGES_AT_ONCE_MAX);
        while let Some(events) = changes.next().await {
            self.apply(events);
        }
        Ok(())
    }

    fn apply(&self, events: Vec<Event>) {
        let mut writer = self.writer.lock();
        let mut next = self.named();
        let mut applied = *self.applied.borrow();
        for event in events {
            applied = applied.max(match event {
                Event::Put(stored) => {
                    match serde_json::from_slice::<FunctionRecord>(&stored.value) {
                        Ok(record) => {
                            writer.stored.insert(stored.key, record.key);
                            writer.put(&mut next, record.current);
                        }
                        // The revision before goes on serving: a record that cannot be read is
                        // no reason to stop what works.
                        Err(error) => tracing::error!(
                            key = %stored.key,
                            %error,
                            "a function's record cannot be read and is passed over"
                        ),
                    }
                    stored.revision
                }
                Event::Delete { key, revision } => {
                    if let Some(function) = writer.stored.remove(&key) {
                        next.remove(&function);
                    }
                    revision
                }
                Event::Current { revision } => revision,
            });
        }
        self.routes.store(Arc::new(Routes::Named(next)));
        drop(writer);
        self.applied.send_replace(applied);
    }

    fn named(&self) -> HashMap<FunctionKey, Arc<Entry>> {
        match &**self.routes.load() {
            Routes::Named(functions) => functions.clone(),
            Routes::Single(_) => HashMap::new(),
        }
    }

    /// The table as it stands, for one request.
    pub(crate) fn routes(&self) -> Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Every function, in the order of owner and name.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries: Vec<_> = match &**self.routes.load() {
            Routes::Single(entry) => vec![Arc::clone(entry)],
            Routes::Named(functions) => functions.values().cloned().collect(),
        };
        entries.sort_by(|a, b| a.revision.function.cmp(&b.revision.function));
        entries
    }
}

impl Writer {
    fn put(&mut self, next: &mut HashMap<FunctionKey, Arc<Entry>>, revision: Revision) {
        let function = revision.function.clone();
        let entry = self.entry(revision, next.get(&function).map(Arc::as_ref));
        next.insert(function, entry);
    }

    /// An owner keeps its place at the door and its rate for as long as the gateway runs.
    fn owner(&mut self, name: &Name) -> Arc<Owner> {
        if let Some(owner) = self.owners.get(name) {
            return Arc::clone(owner);
        }
        let owner = Arc::new(Owner::new(self.owners.len() as u64));
        self.owners.insert(name.clone(), Arc::clone(&owner));
        owner
    }

    /// A function keeps its counters and its place at the door from revision to revision.
    fn entry(&mut self, revision: Revision, known: Option<&Entry>) -> Arc<Entry> {
        let (slot, meter) = match known {
            Some(entry) => (entry.slot, Arc::clone(&entry.meter)),
            None => {
                self.slots_given += 1;
                (Slot(self.slots_given), Arc::default())
            }
        };
        let owner = self.owner(&revision.function.owner);
        let limits = &revision.settings.limits;
        Arc::new(Entry {
            owner,
            bounds: PerFunction {
                concurrency_max: limits.concurrency_max,
                queue_max: limits.queue_max,
                queue_wait_max_ms: limits.queue_wait_max_ms,
            },
            revision: Arc::new(revision),
            slot,
            meter,
        })
    }
}

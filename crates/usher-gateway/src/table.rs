//! The table of functions: which revision answers, with which counters and bounds.
//!
//! ```text
//!   backbone ──watch──► follow ──► next table ──swap──► requests (one atomic load each)
//!                                      └──► applied: the write that requests now see
//! ```
//!
//! One table replaces another whole, and a request chooses its revision once (`targets`), so it
//! sees one revision of one function from its first look to its end. When the backbone goes away,
//! what was last known goes on serving.
//!
//! Deliberately absent: asking the backbone for a function that is not in the table. Who deploys
//! waits for [`RouteTable::applied`] before the deployment is acknowledged, so what is not here
//! does not exist.

mod targets;

use std::collections::{BTreeMap, HashMap};
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
use usher_core::traffic::{Alias, Split};

use crate::door::Slot;
use crate::meter::Meter;
use crate::rules::{Owner, Rules};

pub(crate) use targets::Targets;

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

/// One function as a request sees it that has got one of its revisions. All entries of a function
/// share its line at the door, its counters and its bounds.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) revision: Arc<Revision>,
    /// Those of the function's main revision, whichever one this is: one line can have one bound
    /// only, and with those of a new revision it would come to a stop behind requests of the old
    /// one. What a revision may run at once by itself, its environments bound.
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
    Named(Functions),
}

type Functions = HashMap<FunctionKey, Arc<Function>>;

/// One function with all that its names mean.
#[derive(Debug)]
pub(crate) struct Function {
    /// The main revision of what the bare name serves.
    main: Arc<Entry>,
    live: Targets,
    aliases: BTreeMap<Alias, Targets>,
}

impl Function {
    /// What a name of the function means; none: there is no such alias.
    pub(crate) fn targets(&self, alias: Option<&Alias>) -> Option<&Targets> {
        match alias {
            None => Some(&self.live),
            Some(alias) if alias.is_live() => Some(&self.live),
            Some(alias) => self.aliases.get(alias),
        }
    }
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
        let common = writer.common(&revision, known.as_deref());
        let entry = Arc::new(common.entry(Arc::new(revision)));
        self.routes.store(Arc::new(Routes::Single(entry)));
    }

    /// From now on this revision answers for its function.
    pub fn put(&self, revision: Revision) {
        self.put_record(&FunctionRecord::first(revision, 0));
    }

    /// From now on the function answers as this record says.
    pub fn put_record(&self, record: &FunctionRecord) {
        let mut writer = self.writer.lock();
        let mut next = self.named();
        writer.put(&mut next, record);
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
                            writer.put(&mut next, &record);
                            writer.stored.insert(stored.key, record.key);
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

    fn named(&self) -> Functions {
        match &**self.routes.load() {
            Routes::Named(functions) => functions.clone(),
            Routes::Single(_) => HashMap::new(),
        }
    }

    /// The table as it stands, for one request.
    pub(crate) fn routes(&self) -> Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// The main entry of every function, in the order of owner and name.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        let mut entries: Vec<_> = match &**self.routes.load() {
            Routes::Single(entry) => vec![Arc::clone(entry)],
            Routes::Named(functions) => {
                let functions = functions.values();
                functions.map(|it| Arc::clone(&it.main)).collect()
            }
        };
        entries.sort_by(|a, b| a.revision.function.cmp(&b.revision.function));
        entries
    }
}

/// What all entries of a function have in common.
struct Common {
    bounds: PerFunction,
    slot: Slot,
    owner: Arc<Owner>,
    meter: Arc<Meter>,
}

impl Common {
    fn entry(&self, revision: Arc<Revision>) -> Entry {
        Entry {
            revision,
            bounds: self.bounds,
            slot: self.slot,
            owner: Arc::clone(&self.owner),
            meter: Arc::clone(&self.meter),
        }
    }
}

impl Writer {
    fn put(&mut self, next: &mut Functions, record: &FunctionRecord) {
        let known = next.get(&record.key);
        let common = self.common(&record.current, known.map(|known| &*known.main));
        let mut entries = BTreeMap::new();
        for revision in record.in_service() {
            let entry = Arc::new(common.entry(Arc::new(revision.clone())));
            entries.insert(revision.number, entry);
        }
        let main = entries.get(&record.current.number).cloned();
        let main = main.unwrap_or_else(|| {
            let current = Arc::new(record.current.clone());
            Arc::new(common.entry(current))
        });
        let live = Targets::new(record.live(), &entries).unwrap_or_else(|| {
            tracing::error!(function = %record.key, "a revision of a record is not there");
            Targets::one(Arc::clone(&main))
        });
        let alias = |(alias, split): (&Alias, &Split)| {
            let targets = Targets::new(split.clone(), &entries);
            if targets.is_none() {
                tracing::error!(function = %record.key, %alias, "a revision of it is not there");
            }
            Some((alias.clone(), targets?))
        };
        let aliases = record.aliases.iter().filter_map(alias).collect();
        let function = Function {
            main,
            live,
            aliases,
        };
        next.insert(record.key.clone(), Arc::new(function));
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
    fn common(&mut self, main: &Revision, known: Option<&Entry>) -> Common {
        let (slot, meter) = match known {
            Some(entry) => (entry.slot, Arc::clone(&entry.meter)),
            None => {
                self.slots_given += 1;
                (Slot(self.slots_given), Arc::default())
            }
        };
        let owner = self.owner(&main.function.owner);
        let limits = &main.settings.limits;
        let bounds = PerFunction {
            concurrency_max: limits.concurrency_max,
            queue_max: limits.queue_max,
            queue_wait_max_ms: limits.queue_wait_max_ms,
        };
        Common {
            bounds,
            owner,
            slot,
            meter,
        }
    }
}

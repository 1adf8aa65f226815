//! The node as other roles see it, and the table of its revisions.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::stream::BoxStream;
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use usher_api::access::OWNERS_PREFIX;
use usher_api::invoke::{BoxFuture, Failure, Invocation, Invoker, Reply};
use usher_api::node::{
    FunctionLogLine, ImageReport, LogLine, LogQuery, NodeControl, PrepareFault, Progress,
    RevisionStatus,
};
use usher_backbone::Watched;
use usher_core::audit::AUDIT_ONE_IN;
use usher_core::function::Revision;
use usher_core::id::{FunctionKey, Name, RevisionId};
use usher_core::owner::OwnerRecord;
use usher_engine::Engine;
use usher_engine::phases::Phases;

use crate::artifact::ArtifactSource;
use crate::audits::Distrusts;
use crate::boxed::boxed;
use crate::entry::Entry;
use crate::flights::Flights;
use crate::host::{HostSource, Watch};
use crate::invoke::refused;
use crate::logs::{LogOptions, Logs};
use crate::memory::Ledger;
use crate::metrics::{Past, Snapshot};
use crate::pool::{Asked, Pool};
use crate::steps::BeforeRun;

/// How often idle environments are looked at.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// How long a deployment waits for its first environment.
const FIRST_START_MAX: Duration = Duration::from_secs(60);

/// How long a change of traffic waits for environments beyond the first.
const AHEAD_WAIT_MAX: Duration = Duration::from_secs(10);

/// Images that stay loaded beside those in use, as a node has it by default: each with an
/// environment has some thirty mappings, of which a process may have 65,530.
const IMAGES_MAX: NonZeroUsize = match NonZeroUsize::new(1_000) {
    Some(max) => max,
    None => NonZeroUsize::MIN,
};

/// How a node works.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// One renewal in so many is audited; 0: none.
    pub audit_one_in: u64,
    /// Environments of one revision that are started at the same time.
    pub starts_parallel_max: NonZeroUsize,
    /// Images that stay loaded beside those in use.
    pub images_max: NonZeroUsize,
    /// Where what is free of processors and memory is read.
    pub host: HostSource,
    /// The functions' logs.
    pub logs: LogOptions,
    /// What owners may use, which somebody lets follow the backbone.
    pub owners: Arc<Watched<OwnerRecord>>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        Self {
            audit_one_in: AUDIT_ONE_IN,
            // Starting is work of the processor alone, so more at once would only share it out.
            starts_parallel_max: cores.saturating_mul(NonZeroUsize::MIN.saturating_add(1)),
            images_max: IMAGES_MAX,
            host: HostSource::default(),
            logs: LogOptions::default(),
            owners: Arc::new(Watched::new(OWNERS_PREFIX)),
        }
    }
}

/// A node with one engine. Clones are the same node.
pub struct Node<E: Engine> {
    shop: Arc<Shop<E>>,
}

impl<E: Engine> Clone for Node<E> {
    fn clone(&self) -> Self {
        let shop = self.shop.clone();
        Self { shop }
    }
}

/// What a node is made of.
pub(crate) struct Shop<E: Engine> {
    pub(crate) engine: Arc<E>,
    pub(crate) artifacts: Arc<dyn ArtifactSource>,
    pub(crate) options: NodeOptions,
    pub(crate) entries: RwLock<HashMap<RevisionId, Arc<Entry<E>>>>,
    /// Those that were registered, also for revisions that are not loaded.
    hooks: Mutex<HashMap<RevisionId, Arc<dyn BeforeRun>>>,
    logs: Logs,
    past: Past,
    pub(crate) phases: Arc<Phases>,
    pub(crate) distrusts: Arc<Distrusts>,
    pub(crate) memory: Arc<Ledger>,
    /// Pools that were given up and may still have requests.
    leaving: Mutex<Vec<Weak<Pool<E>>>>,
    flights: Arc<Flights>,
    host: Watch,
}

impl<E: Engine> Node<E> {
    /// A node that has loaded nothing yet. Idle environments are looked after by a task on the
    /// current runtime for as long as the node exists.
    ///
    /// # Errors
    /// If the logs cannot be opened.
    pub fn new(
        engine: Arc<E>,
        artifacts: Arc<dyn ArtifactSource>,
        options: NodeOptions,
    ) -> std::io::Result<Self> {
        let shop = Arc::new(Shop {
            engine,
            artifacts,
            logs: Logs::open(options.logs.clone())?,
            host: Watch::new(options.host),
            memory: Ledger::new(Arc::clone(&options.owners)),
            options,
            entries: RwLock::default(),
            hooks: Mutex::default(),
            past: Past::default(),
            phases: Arc::default(),
            distrusts: Arc::default(),
            leaving: Mutex::default(),
            flights: Arc::default(),
        });
        tokio::spawn(tend(Arc::downgrade(&shop)));
        Ok(Self { shop })
    }

    /// Registers what is called before each run of a revision, in the place of what was; none:
    /// nothing. It stays registered until it is taken back, whether the revision is loaded or not.
    pub fn before_each_run(&self, revision: RevisionId, hook: Option<Arc<dyn BeforeRun>>) {
        let mut hooks = self.shop.hooks.lock();
        match &hook {
            Some(hook) => hooks.insert(revision, hook.clone()),
            None => hooks.remove(&revision),
        };
        if let Some(entry) = self.shop.entries.read().get(&revision) {
            *entry.hook.write() = hook;
        }
    }

    /// What was counted so far, and how things stand.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.shop.past.snapshot();
        snapshot.phases = self.shop.phases.readings();
        snapshot.log_lines_dropped = self.shop.logs.dropped();
        snapshot.log_lines_lost = self.shop.logs.lost();
        (snapshot.log_bytes, snapshot.log_bytes_removed) = self.shop.logs.room();
        for entry in self.shop.entries.read().values() {
            let function = entry.log.key().clone();
            let metrics = snapshot.functions.entry(function).or_default();
            metrics.totals.add(&entry.counters.totals());
            if let Some(pool) = entry.pool() {
                let (counts, twins) = (pool.counts(), pool.twins().kept);
                let environments = counts.environments() as u64;
                metrics.standing.add(counts, pool.keys(), twins);
                let memory = self.shop.engine.memory_bytes(&pool.image, environments);
                metrics.standing.memory_bytes += memory;
            }
        }
        snapshot
    }

    /// Shuts down: new invocations are refused as draining, those under way finish, to the last
    /// byte of their replies; then all environments end, and the logs are written. Waits as long as
    /// that takes.
    pub async fn drain(&self) {
        self.shop.flights.drained().await;
        let revisions = self.shop.entries.read().keys().copied().collect::<Vec<_>>();
        for revision in revisions {
            self.shop.remove(revision, |_| true);
        }
        let leaving = std::mem::take(&mut *self.shop.leaving.lock());
        for pool in leaving.iter().filter_map(Weak::upgrade) {
            pool.emptied().await;
        }
        self.shop.logs.stop().await;
    }
}

impl<E: Engine> Shop<E> {
    /// The revision's entry; an unknown one gets one.
    pub(crate) fn entry(&self, revision: &Arc<Revision>) -> Arc<Entry<E>> {
        if let Some(entry) = self.entries.read().get(&revision.id) {
            return entry.clone();
        }
        let hooks = self.hooks.lock();
        let mut entries = self.entries.write();
        let entry = entries.entry(revision.id).or_insert_with(|| {
            let log = self.logs.function(&revision.function);
            let entry = Entry::new(revision, &*self.engine, log);
            *entry.hook.write() = hooks.get(&revision.id).cloned();
            Arc::new(entry)
        });
        entry.clone()
    }

    /// Gives a pool up that requests may still be under way in.
    pub(crate) fn leave(&self, pool: &Arc<Pool<E>>) {
        pool.close();
        let mut leaving = self.leaving.lock();
        leaving.retain(|pool| pool.strong_count() > 0);
        leaving.push(Arc::downgrade(pool));
    }

    /// Takes an entry out, if it is still the one. Its counters go to the function's sums.
    fn remove(
        &self,
        revision: RevisionId,
        fits: impl Fn(&Entry<E>) -> bool,
    ) -> Option<Arc<Entry<E>>> {
        let entry = {
            let mut entries = self.entries.write();
            if !entries.get(&revision).is_some_and(|entry| fits(entry)) {
                return None;
            }
            entries.remove(&revision)?
        };
        if let Some(pool) = entry.pool() {
            self.leave(&pool);
        }
        self.past.absorb(entry.log.key(), entry.counters.clone());
        Some(entry)
    }

    /// Starts the first environment, so that a deployment which cannot start says so, and as many
    /// more as are to stand ready.
    async fn start_first(&self, pool: &Arc<Pool<E>>) -> Result<(), PrepareFault> {
        if pool.counts().environments() == 0 {
            let asked = match pool.ask(None) {
                Ok(Asked::Waits(line)) => line.served(FIRST_START_MAX).await,
                Ok(Asked::Got(claimed)) => Ok(claimed),
                Err(error) => Err(error),
            };
            // What was claimed goes back as it is dropped here.
            if let Err(error) = asked {
                let fault = error.fault(&pool.revision.settings.limits);
                return Err(PrepareFault {
                    blame: fault.judge().blame,
                    message: format!("the first environment was not had: {error}"),
                });
            }
        }
        pool.tend();
        Ok(())
    }

    fn tend(&self) {
        let entries = self.entries.read().clone();
        let host = self.host.look();
        // One in a round: what is free now is free for one only, whoever's it is.
        let mut started = false;
        for (revision, entry) in entries {
            if let Some(pool) = entry.pool() {
                pool.tend();
                started = started || pool.twin(host);
            }
            if entry.forgettable() {
                drop(entry);
                self.remove(revision, Entry::forgettable);
            }
        }
        self.rest();
    }
}

async fn tend<E: Engine>(shop: Weak<Shop<E>>) {
    let mut ticks = tokio::time::interval(TEND_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(shop) = shop.upgrade() else { return };
        shop.tend();
    }
}

impl<E: Engine> Invoker for Node<E> {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Reply, Failure>> {
        boxed(async move {
            let Some(_flight) = self.shop.flights.begin() else {
                return Err(refused(invocation.request_id, &invocation.revision).into());
            };
            self.shop.serve(invocation).await
        })
    }
}

impl<E: Engine> NodeControl for Node<E> {
    fn prepare(
        &self,
        revision: Arc<Revision>,
        progress: mpsc::Sender<Progress>,
    ) -> BoxFuture<'_, Result<ImageReport, PrepareFault>> {
        Box::pin(async move {
            let entry = self.shop.entry(&revision);
            let prepared = entry.prepare(&self.shop, &revision, progress).await;
            let started = match &prepared {
                Ok(pool) => self.shop.start_first(pool).await,
                Err(fault) => Err(fault.clone()),
            };
            if let Err(fault) = &started {
                let text = format!("the revision could not be made ready: {fault}");
                entry.log.platform(revision.id, None, text);
            }
            started?;
            let pool = prepared?;
            Ok(self.shop.engine.report(&pool.image))
        })
    }

    fn start_ahead(&self, revision: RevisionId, environments: u32) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let entry = self.shop.entries.read().get(&revision).cloned();
            let Some(pool) = entry.and_then(|entry| entry.pool()) else {
                return;
            };
            let warm = pool.warm(environments as usize);
            if tokio::time::timeout(AHEAD_WAIT_MAX, warm).await.is_err() {
                tracing::warn!(%revision, environments, "traffic moves before all is warm");
            }
        })
    }

    fn retire(&self, revision: RevisionId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let entry = self.shop.remove(revision, |_| true);
            if let Some(pool) = entry.and_then(|entry| entry.pool()) {
                pool.emptied().await;
            }
        })
    }

    fn secret_changed<'a>(&'a self, owner: &'a Name, secret: &'a Name) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let entries: Vec<_> = self.shop.entries.read().values().cloned().collect();
            for entry in entries.iter().filter(|it| it.uses_secret(owner, secret)) {
                entry.remake(&self.shop).await;
            }
        })
    }

    fn image(&self, revision: RevisionId) -> Option<ImageReport> {
        let entry = self.shop.entries.read().get(&revision).cloned()?;
        entry.report(&self.shop.engine)
    }

    fn status(&self, revision: RevisionId) -> RevisionStatus {
        let Some(entry) = self.shop.entries.read().get(&revision).cloned() else {
            return RevisionStatus::default();
        };
        let pool = entry.pool();
        let counts = pool.as_ref().map(|pool| pool.counts()).unwrap_or_default();
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let twins = pool.as_ref().map(|pool| pool.twins()).unwrap_or_default();
        let counters = &entry.counters;
        RevisionStatus {
            clean: small(counts.idle),
            busy: small(counts.busy),
            renewing: small(counts.renewing),
            starting: small(counts.starting),
            waiting: small(counts.waiting),
            keys: small(pool.map_or(0, |pool| pool.keys())),
            twins: small(twins.kept),
            twins_because: twins.why.map(|why| why.to_string()).unwrap_or_default(),
            quarantined: counters.quarantined.get(),
            served: counters.served_total(),
            started: counters.started.get(),
            compiled: counters.compiled.get(),
            loaded: counters.loaded.get(),
            audits: counters.audits.get(),
            audits_failed: counters.audits_failed.get(),
        }
    }

    fn logs(&self, function: &FunctionKey, query: LogQuery) -> BoxStream<'static, LogLine> {
        self.shop.logs.query(function, query)
    }

    fn all_logs(
        &self,
        owner: Option<Name>,
        query: LogQuery,
    ) -> BoxStream<'static, FunctionLogLine> {
        self.shop.logs.query_all(owner, query)
    }
}

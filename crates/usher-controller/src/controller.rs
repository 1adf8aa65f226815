//! What the controller is made of, what it may use, and how it shows a function.
//!
//! Deliberately absent: what it does, which stands in `change`, `deploy`, `traffic`, `remove`,
//! `artifacts` and `start`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, RwLock, Semaphore, watch};
use tokio::task::JoinHandle;
use usher_api::http::{FunctionPage, FunctionView, PAGE_MAX};
use usher_api::node::{FunctionLogLine, LogLine, LogQuery, NodeControl};
use usher_api::record::FunctionRecord;
use usher_api::traffic::shares;
use usher_backbone::Backbone;
use usher_core::id::{FunctionKey, NAME_MAX_BYTES, Name, RevisionId};
use usher_core::route::Domain;
use usher_core::traffic::{Alias, HOST_MARK, PATH_MARK};

use crate::backup::{BucketEntries, OwnFiles};
use crate::records::{self, Kept, RecordError};
use crate::secrets::Vault;

/// The last backbone revision that somebody who watches the records has acted on. A deployment is
/// acknowledged when every follower has reached its revision.
pub type Follower = watch::Receiver<u64>;

/// Where functions answer.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// The domain under which functions have names.
    pub domain: Domain,
}

/// Bounds of a controller.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where functions answer.
    pub addresses: Addresses,
    /// The largest artifact, in bytes. The backbone has a bound of its own.
    pub artifact_max_bytes: u64,
    /// How long an artifact that no record names is kept, in seconds: long enough to deploy it.
    pub artifact_grace_s: u64,
    /// How often artifacts that no record names are looked for, in seconds.
    pub collect_every_s: u64,
    /// Deployments and deletions that run at once; further ones are refused.
    pub changes_max: usize,
    /// Environments of one revision that are started before traffic moves to it.
    pub ahead_max: u32,
    /// How often a change is tried again when somebody else's came between.
    pub tries_max: usize,
    /// What functions keep in buckets, for back-ups; none: nothing.
    pub buckets: Option<BucketEntries>,
    /// Files of the platform's own that belong into a back-up.
    pub own_files: OwnFiles,
    /// How long a change waits until every gateway knows of it, in milliseconds.
    pub follow_wait_max_ms: u64,
    /// What seals secrets; none: there are none.
    pub vault: Option<Arc<Vault>>,
}

impl Options {
    /// The bounds that fit one machine.
    pub fn new(addresses: Addresses) -> Self {
        Self {
            addresses,
            artifact_max_bytes: 256 << 20,
            artifact_grace_s: 3_600,
            collect_every_s: 3_600,
            changes_max: 64,
            ahead_max: 16,
            tries_max: 16,
            buckets: None,
            own_files: OwnFiles::default(),
            follow_wait_max_ms: 10_000,
            vault: None,
        }
    }
}

/// A controller. Its own tasks end when it is dropped; changes that have begun are finished.
pub struct Controller {
    pub(crate) core: Arc<Core>,
    pub(crate) tasks: Vec<JoinHandle<()>>,
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What the tasks of a controller share.
pub(crate) struct Core {
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) node: Arc<dyn NodeControl>,
    pub(crate) followers: Vec<Follower>,
    pub(crate) options: Options,
    pub(crate) changes: Arc<Semaphore>,
    /// Held for reading while an artifact is on its way into a record, for writing while artifacts
    /// are collected.
    pub(crate) artifacts: Arc<RwLock<()>>,
    functions: Turns<FunctionKey>,
    owners: Turns<Name>,
    /// One secret is set at a time.
    pub(crate) secrets: tokio::sync::Mutex<()>,
}

impl Core {
    pub(crate) fn new(
        backbone: Arc<dyn Backbone>,
        node: Arc<dyn NodeControl>,
        followers: Vec<Follower>,
        options: Options,
    ) -> Arc<Self> {
        Arc::new(Self {
            backbone,
            node,
            followers,
            changes: Arc::new(Semaphore::new(options.changes_max)),
            options,
            artifacts: Arc::default(),
            secrets: tokio::sync::Mutex::new(()),
            functions: Mutex::new(HashMap::new()),
            owners: Mutex::new(HashMap::new()),
        })
    }

    /// One change of a function at a time in this process: a revision that one change retires must
    /// not be one that the next is just preparing. Between processes compare-and-set decides.
    pub(crate) async fn turn(&self, function: &FunctionKey) -> OwnedMutexGuard<()> {
        turn_of(&self.functions, function).lock_owned().await
    }

    /// One new function of an owner at a time, where their number is bounded.
    pub(crate) async fn owner_turn(&self, owner: &Name) -> OwnedMutexGuard<()> {
        turn_of(&self.owners, owner).lock_owned().await
    }

    /// Whether every follower has come as far as `revision` within the time that is given to them.
    pub(crate) async fn followed(&self, revision: u64) -> bool {
        let all = async {
            for follower in &self.followers {
                let mut follower = follower.clone();
                if follower
                    .wait_for(|applied| *applied >= revision)
                    .await
                    .is_err()
                {
                    return false;
                }
            }
            true
        };
        let wait = Duration::from_millis(self.options.follow_wait_max_ms);
        tokio::time::timeout(wait, all).await.unwrap_or(false)
    }

    /// Takes a revision out of service. Returns once no new request begins on it; what runs is
    /// finished behind the caller.
    pub(crate) async fn retire(self: &Arc<Self>, revision: RevisionId) {
        let core = Arc::clone(self);
        let mut drained = Box::pin(async move { core.node.retire(revision).await });
        // The first poll is what takes it out of service, so it must not be left to a task that
        // may run after the next deployment of the same revision.
        let at_once =
            std::future::poll_fn(|cx| std::task::Poll::Ready(drained.as_mut().poll(cx).is_ready()));
        if !at_once.await {
            tokio::spawn(drained);
        }
    }

    pub(crate) fn view(&self, record: &FunctionRecord) -> FunctionView {
        let id = record.current.id;
        FunctionView {
            owner: record.key.owner.clone(),
            name: record.key.name.clone(),
            revision: record.current.clone(),
            traffic: shares(record, &record.live()),
            aliases: self.alias_views(record),
            staged: record.staged,
            created_us: record.created_us,
            updated_us: record.updated_us,
            urls: self.options.addresses.urls(&record.key),
            image: self.node.image(id),
            status: self.node.status(id),
        }
    }
}

type Turns<K> = Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>;

fn turn_of<K: Eq + Hash + Clone>(turns: &Turns<K>, of: &K) -> Arc<tokio::sync::Mutex<()>> {
    let mut turns = turns.lock();
    // So many are alive at most as changes run at once.
    turns.retain(|_, lock| lock.strong_count() > 0);
    let lock = turns.get(of).and_then(Weak::upgrade);
    lock.unwrap_or_else(|| {
        let lock = Arc::default();
        turns.insert(of.clone(), Arc::downgrade(&lock));
        lock
    })
}

impl Controller {
    /// A function as it stands, if there is one.
    pub async fn show(&self, function: &FunctionKey) -> Result<Option<FunctionView>, RecordError> {
        let kept = self.record(function).await?;
        Ok(kept.map(|kept| self.core.view(&kept.record)))
    }

    /// One page of functions, of one owner or of all, behind the function `after`; at most
    /// [`PAGE_MAX`].
    pub async fn list(
        &self,
        owner: Option<&Name>,
        after: Option<&FunctionKey>,
        limit: usize,
    ) -> Result<FunctionPage, RecordError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let (page, more) = records::page(&*self.core.backbone, owner, after, limit).await?;
        let functions: Vec<_> = page
            .iter()
            .map(|kept| self.core.view(&kept.record))
            .collect();
        let last = functions.last().filter(|_| more);
        let next = last.map(|last| format!("{}.{}", last.owner, last.name));
        Ok(FunctionPage { functions, next })
    }

    /// A function's log, oldest line first.
    pub fn logs(
        &self,
        function: &FunctionKey,
        query: LogQuery,
    ) -> futures_util::stream::BoxStream<'static, LogLine> {
        self.core.node.logs(function, query)
    }

    /// The logs of all functions, or of those of one owner, oldest line first.
    pub fn all_logs(
        &self,
        owner: Option<Name>,
        query: LogQuery,
    ) -> futures_util::stream::BoxStream<'static, FunctionLogLine> {
        self.core.node.all_logs(owner, query)
    }

    pub(crate) async fn record(&self, function: &FunctionKey) -> Result<Option<Kept>, RecordError> {
        records::get(&*self.core.backbone, function).await
    }
}

impl Addresses {
    /// Where a function answers: by name, then by path.
    pub fn urls(&self, function: &FunctionKey) -> Vec<String> {
        let owned = owned(function);
        vec![self.by_host(&owned), self.by_path(&owned)]
    }

    /// Where an alias of a function answers: by name, where that is short enough for a host's
    /// label, then by path.
    pub fn alias_urls(&self, function: &FunctionKey, alias: &Alias) -> Vec<String> {
        let owned = owned(function);
        let label_bytes = alias.as_str().len() + HOST_MARK.len() + function.name.as_str().len();
        let by_host = (label_bytes <= NAME_MAX_BYTES)
            .then(|| self.by_host(&format!("{alias}{HOST_MARK}{owned}")));
        let by_path = self.by_path(&format!("{owned}{PATH_MARK}{alias}"));
        by_host.into_iter().chain([by_path]).collect()
    }

    fn by_host(&self, labels: &str) -> String {
        format!("http://{labels}.{}{}/", self.domain.as_str(), self.port())
    }

    fn by_path(&self, segment: &str) -> String {
        let host = match self.gateway.ip() {
            every if every.is_unspecified() => format!("{}{}", self.domain.as_str(), self.port()),
            _ => self.gateway.to_string(),
        };
        format!("http://{host}/fn/{segment}/")
    }

    fn port(&self) -> String {
        match self.gateway.port() {
            80 => String::new(),
            port => format!(":{port}"),
        }
    }
}

/// A function's name, with its owner unless that is the default one.
fn owned(function: &FunctionKey) -> String {
    match function.owner == Name::default_owner() {
        true => function.name.to_string(),
        false => format!("{}.{}", function.name, function.owner),
    }
}

/// The time, in microseconds since the Unix epoch.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

//! One revision on this node: its image, once it is loaded, and the pool of its environments.
//!
//! ```text
//! Absent ─load→ Loading ─┬→ Loaded (a pool)
//!    ▲                   └→ Failed ─retry time over, or prepared again→ Absent
//!    ├── live renewal was turned off, and the revision was deployed again
//!    └── nobody has used it for long: a small record is left, and the next request loads it
//! ```
//!
//! Concurrent loads join: there is one task that loads, and everybody waits for it. It goes on when
//! the one who began it goes away.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::{Mutex, RwLock};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;
use usher_api::node::{ImageReport, PrepareFault, Progress};
use usher_core::claim::{Code, Offered, Refusal, claim};
use usher_core::environment::State as Life;
use usher_core::fault::{Blame, Fault};
use usher_core::function::Revision;
use usher_core::id::Digest;
use usher_engine::{Artifact, Engine};

use crate::artifact::ArtifactSource;
use crate::audits::Audits;
use crate::logs::FunctionLog;
use crate::metrics::Counters;
use crate::node::Shop;
use crate::pool::{Parts, Pool, code_of};
use crate::steps::BeforeRun;

/// How long a failed load is remembered, so that every request does not try it again.
pub(crate) const LOAD_RETRY_AFTER: Duration = Duration::from_secs(10);

type Loaded<E> = Result<Arc<Pool<E>>, PrepareFault>;

/// One revision on this node.
pub(crate) struct Entry<E: Engine> {
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Arc<FunctionLog>,
    /// Called before each run.
    pub(crate) hook: RwLock<Option<Arc<dyn BeforeRun>>>,
    /// What may run here.
    code: Code,
    /// Requests bring their revision; this one, as an object, was compared with `code` already.
    known: ArcSwapOption<Revision>,
    pool: ArcSwapOption<Pool<E>>,
    load: Mutex<Load<E>>,
}

struct Load<E: Engine> {
    state: LoadState<E>,
    /// Whether somebody asked for this revision to be ready: it then stays loaded without requests.
    prepared: bool,
    used: Instant,
    /// What was known of the image when it was given up.
    report: Option<ImageReport>,
}

enum LoadState<E: Engine> {
    Absent,
    Loading(Shared<BoxFuture<'static, Loaded<E>>>),
    Failed { fault: PrepareFault, at: Instant },
}

impl<E: Engine> Entry<E> {
    pub(crate) fn new(revision: &Arc<Revision>, engine: &E, log: Arc<FunctionLog>) -> Self {
        Self {
            counters: Arc::default(),
            log,
            hook: RwLock::new(None),
            code: code_of(revision, engine),
            known: ArcSwapOption::from(Some(revision.clone())),
            pool: ArcSwapOption::empty(),
            load: Mutex::new(Load {
                state: LoadState::Absent,
                prepared: false,
                used: Instant::now(),
                report: None,
            }),
        }
    }

    /// Whether this request may run here: same owner, artifact, revision and runtime, never by
    /// name.
    pub(crate) fn admits(&self, revision: &Arc<Revision>, engine: &E) -> Result<(), Refusal> {
        let known = self.known.load();
        if known
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, revision))
        {
            return Ok(());
        }
        let offered = Offered {
            code: &self.code,
            state: Life::Clean,
            healthy: true,
            permit: true,
        };
        claim(&code_of(revision, engine), offered)?;
        self.known.store(Some(revision.clone()));
        Ok(())
    }

    /// The pool, where the image is loaded.
    pub(crate) fn pool(&self) -> Option<Arc<Pool<E>>> {
        self.pool.load_full()
    }

    /// What is known of the image: of the loaded one, else of the last one.
    pub(crate) fn report(&self, engine: &E) -> Option<ImageReport> {
        match self.pool() {
            Some(pool) => Some(engine.report(&pool.image)),
            None => self.load.lock().report.clone(),
        }
    }

    /// Gives the image up, if `may` still holds, and answers the pool that it was in.
    pub(crate) fn sleep(&self, engine: &E, may: impl Fn(&Pool<E>) -> bool) -> Option<Arc<Pool<E>>> {
        let mut load = self.load.lock();
        let pool = self.pool().filter(|pool| may(pool))?;
        load.report = Some(engine.report(&pool.image));
        self.pool.store(None);
        Some(pool)
    }

    /// The pool; loads the image where it is not there, or joins whoever loads it.
    pub(crate) async fn ready(
        self: &Arc<Self>,
        shop: &Arc<Shop<E>>,
        revision: &Arc<Revision>,
    ) -> Loaded<E> {
        let loading = {
            let mut load = self.load.lock();
            load.used = Instant::now();
            if let Some(pool) = self.pool() {
                return Ok(pool);
            }
            if let LoadState::Failed { fault, at } = &load.state
                && at.elapsed() < LOAD_RETRY_AFTER
            {
                return Err(fault.clone());
            }
            let (progress, _) = mpsc::channel(1);
            self.join(&mut load, shop, revision, progress)
        };
        loading.await
    }

    /// As [`Entry::ready`], for somebody who deploys: tries again what has failed, and loads anew
    /// what was deployed again after an audit had failed.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        shop: &Arc<Shop<E>>,
        revision: &Arc<Revision>,
        progress: mpsc::Sender<Progress>,
    ) -> Loaded<E> {
        let loading = {
            let mut load = self.load.lock();
            load.prepared = true;
            load.used = Instant::now();
            let distrusts = &shop.distrusts;
            match self.pool() {
                Some(old) if distrusts.hold(&old.revision) && !distrusts.hold(revision) => {
                    self.pool.store(None);
                    shop.leave(&old);
                }
                Some(pool) => return Ok(pool),
                None => {}
            }
            self.join(&mut load, shop, revision, progress)
        };
        loading.await
    }

    fn join(
        self: &Arc<Self>,
        load: &mut Load<E>,
        shop: &Arc<Shop<E>>,
        revision: &Arc<Revision>,
        progress: mpsc::Sender<Progress>,
    ) -> Shared<BoxFuture<'static, Loaded<E>>> {
        if let LoadState::Loading(loading) = &load.state {
            return loading.clone();
        }
        let (entry, shop, revision) = (self.clone(), shop.clone(), revision.clone());
        let task = tokio::spawn(async move {
            let loaded = entry.load(&shop, revision, progress).await;
            entry.settle(loaded.as_ref());
            loaded
        });
        let entry = self.clone();
        let loading = async move {
            match task.await {
                Ok(loaded) => loaded,
                Err(_) => {
                    let fault = platform("the load was lost; try again".to_owned());
                    entry.settle(Err(&fault));
                    Err(fault)
                }
            }
        };
        let loading = loading.boxed().shared();
        load.state = LoadState::Loading(loading.clone());
        loading
    }

    fn settle(&self, loaded: Result<&Arc<Pool<E>>, &PrepareFault>) {
        let mut load = self.load.lock();
        load.state = match loaded {
            Ok(pool) => {
                self.pool.store(Some(pool.clone()));
                LoadState::Absent
            }
            Err(fault) => LoadState::Failed {
                fault: fault.clone(),
                at: Instant::now(),
            },
        };
    }

    async fn load(
        &self,
        shop: &Shop<E>,
        revision: Arc<Revision>,
        progress: mpsc::Sender<Progress>,
    ) -> Loaded<E> {
        let artifact = Artifact::new(fetch(shop.artifacts.clone(), revision.clone()));
        let loading = shop.engine.load(revision.clone(), artifact, progress);
        let image = loading.await.map_err(|error| error.0)?;
        self.counters.loaded.add(1);
        if shop.distrusts.hold(&revision) {
            shop.engine.distrust(&image);
        }
        let report = shop.engine.report(&image);
        self.counters.compiled.add(u64::from(!report.cached));
        for text in report.reasons.iter().chain(&report.notes) {
            self.log.platform(revision.id, None, text.clone());
        }
        Ok(Pool::new(Parts {
            engine: shop.engine.clone(),
            image,
            revision,
            counters: self.counters.clone(),
            audits: Audits::new(shop.options.audit_one_in),
            log: self.log.clone(),
            distrusts: shop.distrusts.clone(),
            memory: shop.memory.clone(),
            starts_parallel_max: shop.options.starts_parallel_max,
        }))
    }

    /// Whether nothing would be lost with this entry: nobody asked for it to stay, and it was not
    /// used for the revision's idle time.
    pub(crate) fn forgettable(&self) -> bool {
        let load = self.load.lock();
        if load.prepared || matches!(load.state, LoadState::Loading(_)) {
            return false;
        }
        match self.pool() {
            Some(pool) => pool.unused(),
            None => load.used.elapsed() > LOAD_RETRY_AFTER,
        }
    }
}

/// The bytes of a revision's artifact, which are those of its digest.
async fn fetch(
    artifacts: Arc<dyn ArtifactSource>,
    revision: Arc<Revision>,
) -> Result<Bytes, PrepareFault> {
    let digest = revision.artifact;
    let artifact = artifacts.fetch(digest).await.map_err(|error| {
        tracing::warn!(function = %revision.function, error = &error as &dyn std::error::Error,
            "an artifact was not had");
        platform(format!("{error}; deploy the function again"))
    })?;
    match Digest(Sha256::digest(&artifact).into()) == digest {
        true => Ok(artifact),
        false => Err(platform(format!(
            "the bytes of artifact {digest} have another digest; deploy the function again"
        ))),
    }
}

fn platform(message: String) -> PrepareFault {
    PrepareFault {
        blame: Blame::Platform,
        message,
    }
}

/// What a request is told whose image could not be loaded.
pub(crate) fn fault_of(fault: &PrepareFault) -> Fault {
    match fault.blame {
        Blame::Caller | Blame::Function => Fault::StartFailed,
        Blame::Platform => Fault::Unavailable,
    }
}

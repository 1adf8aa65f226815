//! The engine: makes artifacts into images and images into environments.
//!
//! ```text
//! load:  entry in the cache (compiled now if need be) ─→ code, mapped and linked ─→ first start
//! start: live where the image is trusted to be put back, else a fresh instance
//! ```
//!
//! Deliberately absent: pools of environments, which a node keeps.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use usher_api::node::{ImageReport, PrepareFault, Progress};
use usher_core::area::Owner;
use usher_core::claim::RuntimeAbi;
use usher_core::fault::{Blame, Fault};
use usher_core::function::{RenewalChoice, Revision};
use usher_core::id::{AreaId, Digest};
use usher_core::outbound::AllowList;
use usher_engine::{Artifact, Engine, LoadError, StartError, number};
use wasmtime::Store;
use wasmtime::component::{Linker, WasmList};

use crate::areas::Injected;
use crate::cache::{Cache, Entry, failed as cache_failed};
use crate::compile::{Compiler, code_file};
use crate::environment::{Kind, WasmEnvironment};
use crate::fresh::Fresh;
use crate::host::{self, Host};
use crate::image::{Code, WasmImage};
use crate::meter::Meter;
use crate::outbound::Outbound;
use crate::prepare::Preparation;
use crate::report::{Alive, Counters};
use crate::rewrite::BASE_IMPORT;
use crate::settings::{self, CodeKind, FreshPool};
use crate::sys::code::map_own;
use crate::ticker::{Engines, Ticker};

/// The version of wasmtime that compiled code depends on.
const WASMTIME_VERSION: &str = "48.0.8";
/// Rises when the rewriting or the settings of an engine change what is compiled.
const CODE_FORMAT: u64 = 2;

/// Tasks, streams, futures and their ends that one concurrent instance may have at once, unless
/// `handles_max` is lower. A stream or a task counts two to three times.
const ENTRIES_MAX: usize = 4_096;
/// The same for an instance that is made of several with state: they can call each other, and each
/// such call that waits has a fibre, whose stack no limit of memory counts.
const ENTRIES_NESTED_MAX: usize = 256;

/// What an engine is set to.
#[derive(Clone, Debug)]
pub struct WasmConfig {
    /// Where compiled code is kept. Whoever can write there can run code as the platform.
    pub cache_folder: PathBuf,
    /// Who compiles.
    pub compiler: Compiler,
    /// Bounds of the pool of fresh instances.
    pub pool: FreshPool,
}

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The folder for compiled code cannot be used.
    #[error("the folder for compiled code cannot be used: {0}")]
    Cache(#[source] std::io::Error),
    /// No thread could be started.
    #[error("the engine's clock could not be started: {0}")]
    Clock(#[source] std::io::Error),
}

/// The wasm engine.
pub struct WasmEngine {
    inner: Arc<Inner>,
    abi: RuntimeAbi,
}

/// What all environments of an engine share.
pub(crate) struct Inner {
    pool: FreshPool,
    /// For instances of the pool that stay after their run: half of them, so that those whose state
    /// is kept do not take the pool from all other functions.
    stay: Arc<Semaphore>,
    cache: Cache,
    kinds: [OnceLock<Ready>; CodeKind::COUNT],
    engines: Arc<Engines>,
    _ticker: Ticker,
    codes: Mutex<HashMap<(Digest, CodeKind), Weak<Code>>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) injected: Arc<Injected>,
}

/// An engine of wasmtime with everything linked.
struct Ready {
    engine: wasmtime::Engine,
    linker: Linker<Host>,
}

impl WasmEngine {
    /// Makes an engine. The engines of wasmtime below it are made when they are first needed.
    pub fn new(config: WasmConfig) -> Result<Self, EngineError> {
        let abi = RuntimeAbi {
            engine: "wasm".into(),
            version: WASMTIME_VERSION.into(),
            settings: CODE_FORMAT,
        };
        let folder = config.cache_folder.join(abi.to_string());
        let cache = Cache::open(folder, config.compiler, config.pool);
        let engines = Arc::new(Engines::default());
        let ticker = Ticker::start(Arc::downgrade(&engines)).map_err(EngineError::Clock)?;
        let inner = Inner {
            pool: config.pool,
            stay: Arc::new(Semaphore::new(config.pool.instances_max as usize / 2)),
            cache: cache.map_err(EngineError::Cache)?,
            kinds: Default::default(),
            engines,
            _ticker: ticker,
            codes: Mutex::default(),
            counters: Arc::default(),
            injected: Arc::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
            abi,
        })
    }

    /// What was counted since the engine was made.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// From now on renewals change the record but not the pointer. For tests.
    #[doc(hidden)]
    pub fn inject_skipped_swaps(&self, on: bool) {
        self.inner.injected.skip_swap.store(on, Ordering::Relaxed);
    }

    /// From now on scrubs leave a wrong byte. For tests.
    #[doc(hidden)]
    pub fn inject_spoiled_scrubs(&self, on: bool) {
        self.inner.injected.spoil.store(on, Ordering::Relaxed);
    }
}

impl Inner {
    /// The right to stay in the pool, where the image's state is kept.
    fn place_to_stay(&self, image: &WasmImage) -> Result<Option<OwnedSemaphorePermit>, StartError> {
        if !image.keeps() {
            return Ok(None);
        }
        let place = Arc::clone(&self.stay).try_acquire_owned();
        place.map(Some).map_err(|_| StartError {
            fault: Fault::Unavailable,
            cause: format!(
                "{} instances whose state is kept are all that the pool gives a place to",
                self.pool.instances_max / 2
            ),
        })
    }

    fn ready(&self, kind: CodeKind) -> Result<&Ready, PrepareFault> {
        let place = &self.kinds[kind as usize];
        if let Some(ready) = place.get() {
            return Ok(ready);
        }
        let made = self.make(kind).map_err(|error| PrepareFault {
            blame: Blame::Platform,
            message: format!("the {} engine could not be made: {error:#}", kind.word()),
        })?;
        Ok(place.get_or_init(|| made))
    }

    fn make(&self, kind: CodeKind) -> wasmtime::Result<Ready> {
        let engine = wasmtime::Engine::new(&settings::config(kind, self.pool))?;
        self.engines.add(&engine);
        let mut linker = Linker::new(&engine);
        host::link(&mut linker)?;
        if kind == CodeKind::Concurrent {
            host::link_concurrent(&mut linker)?;
        }
        // Only rewritten components may call it; no other can, since names are not imported twice.
        if kind.is_live() {
            linker.root().func_wrap(
                BASE_IMPORT,
                |mut store: wasmtime::StoreContextMut<'_, Host>, (bytes,): (WasmList<u8>,)| {
                    let base = bytes.as_le_slice(&store).as_ptr().addr() as u64;
                    store.data_mut().bases.push(base);
                    Ok(())
                },
            )?;
        }
        Ok(Ready { engine, linker })
    }

    /// A new store for this code, with the revision's bounds.
    pub(crate) fn store(
        &self,
        code: &Code,
        revision: &Revision,
        allowed: &Arc<AllowList>,
    ) -> Store<Host> {
        let meter = Meter::new(&revision.settings.limits);
        let handles_max = meter.handles_max();
        let host = Host::new(meter, Outbound::new(allowed.clone()));
        let mut store = Store::new(code.pre.engine(), host);
        store.limiter(|host| &mut host.meter);
        store.set_max_component_handles(handles_max);
        if let Some(table) = store.concurrent_resource_table() {
            let bound = if code.nested {
                ENTRIES_NESTED_MAX
            } else {
                ENTRIES_MAX
            };
            table.set_max_capacity(bound.min(handles_max));
        }
        store.epoch_deadline_async_yield_and_update(1);
        store.set_epoch_deadline(1);
        store
    }

    /// Ids for a new environment and its two areas.
    pub(crate) fn owner(&self, revision: &Revision) -> (Owner, [AreaId; 2]) {
        let owner = Owner {
            environment: number::environment_id(),
            revision: revision.id,
        };
        (owner, number::area_ids())
    }

    /// The code of an entry, loaded once for all that use it.
    pub(crate) fn code(&self, artifact: Digest, entry: &Entry) -> Result<Arc<Code>, PrepareFault> {
        let kind = entry.compiled.kind;
        let mut codes = self.codes.lock();
        codes.retain(|_, code| code.strong_count() > 0);
        if let Some(code) = codes.get(&(artifact, kind)).and_then(Weak::upgrade) {
            return Ok(code);
        }
        let ready = self.ready(kind)?;
        let path = entry.folder.join(code_file(kind));
        let component = map_own(&ready.engine, &path).map_err(|error| PrepareFault {
            // The code is whole, so what is not the machine's word is that it does not fit the
            // pool.
            blame: match error.is::<std::io::Error>() {
                true => Blame::Platform,
                false => Blame::Function,
            },
            message: format!("the component could not be loaded: {error:#}"),
        })?;
        let pre = ready.linker.instantiate_pre(&component);
        let pre = pre.map_err(|error| PrepareFault {
            blame: Blame::Function,
            message: format!("the component asks for something the platform lacks: {error:#}"),
        })?;
        self.counters.loaded.fetch_add(1, Ordering::Relaxed);
        let exports = entry.compiled.exports.clone();
        let nested = entry.compiled.nested;
        let code = Arc::new(Code {
            kind,
            pre,
            exports,
            nested,
        });
        codes.insert((artifact, kind), Arc::downgrade(&code));
        Ok(code)
    }

    async fn entry(
        &self,
        artifact: Digest,
        live: bool,
        bytes: impl AsyncFnOnce() -> Result<Bytes, PrepareFault>,
    ) -> Result<Entry, PrepareFault> {
        let entry = self.cache.entry(artifact, live, bytes).await?;
        if entry.compile_ms.is_some() {
            self.counters.compiled.fetch_add(1, Ordering::Relaxed);
        }
        Ok(entry)
    }

    /// Code for fresh instances of an image that was made ready to be served live.
    pub(crate) async fn fresh_code(&self, image: &WasmImage) -> Result<Arc<Code>, PrepareFault> {
        if !image.code.kind.is_live() {
            return Ok(image.code.clone());
        }
        let made = image.fresh.get_or_try_init(async || {
            let artifact = image.revision.artifact;
            let path = image.artifact.clone();
            let bytes = async || {
                let read = tokio::fs::read(path).await;
                read.map(Bytes::from).map_err(cache_failed)
            };
            let entry = self.entry(artifact, false, bytes).await?;
            self.code(artifact, &entry)
        });
        made.await.cloned()
    }
}

impl Engine for WasmEngine {
    type Image = WasmImage;
    type Environment = WasmEnvironment;

    fn abi(&self, _: &Revision) -> &RuntimeAbi {
        &self.abi
    }

    async fn load(
        &self,
        revision: Arc<Revision>,
        artifact: impl Into<Artifact> + Send,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Arc<WasmImage>, LoadError> {
        // Nobody may be listening, and a full queue must not hold up the work.
        let tell = |step: &str| {
            let _unheard = progress.try_send(Progress { step: step.into() });
        };
        tell("compiling");
        let inner = &self.inner;
        let live = revision.settings.renewal != RenewalChoice::Fresh;
        let artifact = artifact.into();
        let bytes = async || artifact.bytes().await;
        let entry = inner.entry(revision.artifact, live, bytes).await?;
        tell("starting");
        let image = Preparation::new(inner, revision, entry)?;
        Ok(image.finish(inner, &tell).await?)
    }

    fn report(&self, image: &WasmImage) -> ImageReport {
        image.describe()
    }

    fn distrust(&self, image: &WasmImage) {
        image.distrusted.store(true, Ordering::Release);
        image.first.lock().take();
    }

    async fn start(&self, image: &Arc<WasmImage>) -> Result<WasmEnvironment, StartError> {
        let inner = &self.inner;
        let failed = |cause: String| StartError {
            fault: Fault::StartFailed,
            cause,
        };
        let environment = |kind| WasmEnvironment {
            inner: inner.clone(),
            kind,
        };
        if image.live() {
            let first = image.first.lock().take();
            let started = match first {
                Some(first) => first,
                None => {
                    let started = image.started(inner).await;
                    started.map_err(|why| failed(why.to_string()))?
                }
            };
            let live = started.of(image.clone(), Alive::count(&inner.counters));
            return Ok(environment(Kind::Live(live)));
        }
        let code = inner.fresh_code(image).await;
        let code = code.map_err(|fault| failed(fault.message))?;
        let place = inner.place_to_stay(image)?;
        let fresh = Fresh::start(inner, image, &code, place, false)
            .await
            .map_err(failed)?;
        Ok(environment(Kind::Fresh(fresh)))
    }
}

//! A live environment in the making, up to the image that it is put back to from then on.
//!
//! ```text
//! first   instantiate ─→ settle ─→ image of every memory
//! warm    instantiate ─→ settle ─→ (asked ─→ release ─→ settle)… ─→ image, globals
//! others  instantiate ─→ the first one's images and globals ─→ settle        of a warm image
//! ```
//!
//! To settle is to save the globals as they are, and to prove that no handle exists. Without a
//! warm-up each environment comes to its image by itself, and shares those memories that are the
//! same; after one there is a single image, and no environment is warmed up twice.
//!
//! Until its image is taken nothing that an instance does gets out, and nothing from outside in.

use std::sync::Arc;
use std::time::Duration;

use usher_core::function::{Revision, Sample};
use usher_core::id::EnvironmentId;
use usher_core::outbound::AllowList;
use usher_engine::ask::Answered;
use wasmtime::Store;
use wasmtime::component::{Instance, TypedFunc};

use crate::areas::Areas;
use crate::engine::Inner;
use crate::host::Host;
use crate::image::{Code, WasmImage};
use crate::live::{Live, LiveRest, release_left};
use crate::rehearsal::{NotAnswered, Rehearsal, rehearse};
use crate::report::Alive;
use crate::rewrite::LiveExports;
use crate::run::Guest;
use crate::serving::Serving;
use crate::settings::{CodeKind, HEADROOM_BYTES};
use crate::sys::image::MemoryImage;
use crate::sys::memory::Nursery;

/// Handles that are taken and given back when an environment is started.
const FIRST_HANDLES: u32 = 4;
/// How long instantiation may take, in seconds.
const START_MAX_S: u64 = 10;

/// What an environment is started from.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) code: &'a Arc<Code>,
    pub(crate) exports: &'a LiveExports,
    pub(crate) revision: &'a Revision,
    pub(crate) allowed: &'a Arc<AllowList>,
    /// Images that may turn out to be this one's too.
    pub(crate) known: &'a [Arc<MemoryImage>],
}

/// Why a component that was proven live could not be started live.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLive {
    /// It is not in a condition that can be put back; fresh instances serve it.
    #[error("{0}")]
    Reason(String),
    /// It could not be started at all.
    #[error("{0}")]
    Failed(String),
}

/// Why an instance could not be warmed up. It is gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotWarm {
    #[error(transparent)]
    NotAnswered(#[from] NotAnswered),
    #[error(transparent)]
    NotLive(#[from] NotLive),
    #[error("{request} was answered {status}")]
    Answer { request: String, status: u16 },
    #[error("after {request} {why}")]
    Left { request: String, why: String },
}

/// A started environment that does not know its image yet.
pub(crate) struct Started {
    guest: Guest,
    pub(crate) areas: Arc<Areas>,
    id: EnvironmentId,
    functions: Functions,
    handles: u32,
    /// Whether another instance may have begun otherwise: see [`Host::drew`].
    pub(crate) drew: bool,
}

/// What a warm-up has left, with which each environment of the image begins.
pub(crate) struct Warmth {
    images: Vec<Arc<MemoryImage>>,
    sizes: Vec<usize>,
    /// Low and high half of each.
    globals: Vec<(u64, u64)>,
    handles: u32,
}

impl Started {
    /// Starts an environment and takes its image.
    pub(crate) async fn first(inner: &Arc<Inner>, start: Start<'_>) -> Result<Self, NotLive> {
        let mut making = Making::instantiate(inner, start).await?;
        making.settle().await?;
        making.freeze(inner, start)
    }

    /// Starts an environment, lets it serve these requests, and takes its image then. Answers what
    /// each of them was answered.
    pub(crate) async fn warm(
        inner: &Arc<Inner>,
        start: Start<'_>,
        samples: &[Sample],
        agent: &'static str,
    ) -> Result<(Self, Warmth, Vec<Answered>), NotWarm> {
        let mut making = Making::instantiate(inner, start).await?;
        making.settle().await?;
        let mut answers = Vec::new();
        for sample in samples {
            let (still, answered) = making.serve(sample, agent, start).await?;
            making = still;
            answers.push(answered);
        }
        let globals = making.globals(start.exports).await?;
        let started = making.freeze(inner, start)?;
        let warmth = Warmth {
            images: started.areas.images().to_vec(),
            sizes: started.areas.sizes().to_vec(),
            globals,
            handles: started.handles,
        };
        Ok((started, warmth, answers))
    }

    /// Starts an environment and gives it the image that another one was warmed up to.
    pub(crate) async fn warmed(
        inner: &Arc<Inner>,
        start: Start<'_>,
        warmth: &Warmth,
    ) -> Result<Self, NotLive> {
        let making = Making::instantiate(inner, start).await?;
        making.adopt(inner, start, warmth).await
    }

    /// Joins it with the image it belongs to.
    pub(crate) fn of(self, image: Arc<WasmImage>, alive: Alive) -> Box<Live> {
        let Self {
            guest,
            areas,
            id,
            functions,
            handles,
            ..
        } = self;
        let Functions { renew, release, .. } = functions;
        let rest = LiveRest::new(image, areas, id, (renew, release), handles, alive);
        Box::new(Live { guest, rest })
    }
}

/// An instance whose image is not taken yet.
struct Making {
    guest: Guest,
    functions: Functions,
    nursery: Nursery,
    handles: u32,
    drew: bool,
}

impl Making {
    async fn instantiate(inner: &Arc<Inner>, start: Start<'_>) -> Result<Self, NotLive> {
        let mut store = inner.store(start.code, start.revision, start.allowed);
        store.data_mut().rehearse(Some(Rehearsal::default()));
        let nursery = Nursery::new(store.data().meter.memory_max_bytes());
        let mut instantiating = Box::pin(start.code.pre.instantiate_async(&mut store));
        let bounded = std::future::poll_fn(|cx| nursery.during(|| instantiating.as_mut().poll(cx)));
        let instance = bounded_start(bounded)
            .await
            .map_err(NotLive::Failed)?
            .map_err(failed)?;
        drop(instantiating);
        let functions = Functions::find(&instance, &mut store, start.exports).map_err(failed)?;
        let serving = Serving::find(start.code.kind, &mut store, &instance).map_err(failed)?;
        if !store.data().table.is_empty() {
            return Err(NotLive::Reason(
                "it holds resources of the host from the start".into(),
            ));
        }
        let drew = store.data().drew();
        Ok(Self {
            guest: Guest { store, serving },
            functions,
            nursery,
            handles: FIRST_HANDLES,
            drew,
        })
    }

    async fn settle(&mut self) -> Result<(), NotLive> {
        let store = &mut self.guest.store;
        store.set_epoch_deadline(1);
        store.data_mut().bases.clear();
        let saved = self.functions.save.call_async(&mut *store, ()).await;
        saved.map_err(failed)?;
        self.renew().await
    }

    /// Puts globals back to what was saved, and proves that there is no handle.
    async fn renew(&mut self) -> Result<(), NotLive> {
        let renew = &self.functions.renew;
        let store = &mut self.guest.store;
        let renewed = renew.call_async(store, (0, self.handles)).await;
        let held = |_| NotLive::Reason("it holds handles from the start".into());
        renewed.map(drop).map_err(held)
    }

    /// Serves one request, and clears what it has left outside of the image.
    async fn serve(
        self,
        sample: &Sample,
        agent: &'static str,
        start: Start<'_>,
    ) -> Result<(Self, Answered), NotWarm> {
        let limits = &start.revision.settings.limits;
        let rehearsal = Rehearsal::default();
        let (guest, answered) = rehearse(self.guest, sample, agent, rehearsal, limits).await?;
        let request = || sample.to_string();
        if answered.is_error() {
            return Err(NotWarm::Answer {
                request: request(),
                status: answered.status.as_u16(),
            });
        }
        let left = |why| NotWarm::Left {
            request: request(),
            why,
        };
        let mut making = Self { guest, ..self };
        let release = &making.functions.release;
        making.guest.store.set_epoch_deadline(1);
        let held = release_left(&mut making.guest, start.exports, release).await;
        making.handles = making.handles.max(held.map_err(left)?);
        match making.settle().await {
            Ok(()) => Ok((making, answered)),
            Err(NotLive::Reason(_)) => Err(left("it holds handles".into())),
            Err(NotLive::Failed(why)) => Err(left(why)),
        }
    }

    /// The globals as they were saved.
    async fn globals(&mut self, exports: &LiveExports) -> Result<Vec<(u64, u64)>, NotLive> {
        let store = &mut self.guest.store;
        let read = &self.functions.read;
        let mut globals = Vec::new();
        for place in 0..exports.globals {
            let (low,) = read
                .call_async(&mut *store, (place, 0))
                .await
                .map_err(failed)?;
            let (high,) = read
                .call_async(&mut *store, (place, 1))
                .await
                .map_err(failed)?;
            globals.push((low, high));
        }
        Ok(globals)
    }

    fn freeze(mut self, inner: &Arc<Inner>, start: Start<'_>) -> Result<Started, NotLive> {
        let pairs = std::mem::take(&mut *self.nursery.pairs.lock());
        let (owner, ids) = inner.owner(start.revision);
        let injected = inner.injected.clone();
        let headroom = headroom(start.code.kind);
        let areas = Areas::freeze(pairs, headroom, start.known, owner, ids, injected);
        let areas = areas.map_err(|error| {
            NotLive::Failed(format!("no image could be taken of its memories: {error}"))
        })?;
        self.guest.store.data_mut().meter.freeze();
        self.done(areas, owner.environment)
    }

    async fn adopt(
        mut self,
        inner: &Arc<Inner>,
        start: Start<'_>,
        warmth: &Warmth,
    ) -> Result<Started, NotLive> {
        self.handles = warmth.handles;
        let store = &mut self.guest.store;
        for (place, (low, high)) in (0..).zip(&warmth.globals) {
            let written = (self.functions.write)
                .call_async(&mut *store, (place, *low, *high))
                .await;
            written.map_err(failed)?;
        }
        let pairs = std::mem::take(&mut *self.nursery.pairs.lock());
        let (owner, ids) = inner.owner(start.revision);
        let injected = inner.injected.clone();
        let headroom = headroom(start.code.kind);
        let known = (&*warmth.images, &*warmth.sizes);
        let areas = Areas::adopt(pairs, headroom, known, owner, ids, injected);
        let areas = areas.map_err(|error| {
            NotLive::Failed(format!("the warm image could not be laid over: {error}"))
        })?;
        store.data_mut().meter.adopt(warmth.sizes.iter().sum());
        // Which makes the runtime look where the memories are, before anything touches them.
        self.renew().await?;
        self.done(areas, owner.environment)
    }

    fn done(mut self, areas: Areas, id: EnvironmentId) -> Result<Started, NotLive> {
        let host = self.guest.store.data_mut();
        host.end();
        host.rehearse(None);
        areas.determine(&host.bases).map_err(NotLive::Failed)?;
        Ok(Started {
            guest: self.guest,
            areas: Arc::new(areas),
            id,
            functions: self.functions,
            handles: self.handles,
            drew: self.drew,
        })
    }
}

/// The functions that the rewriting added.
struct Functions {
    save: TypedFunc<(), ()>,
    renew: TypedFunc<(u32, u32), (u32,)>,
    release: TypedFunc<(u32, u32), ()>,
    read: TypedFunc<(u32, u32), (u64,)>,
    write: TypedFunc<(u32, u64, u64), ()>,
}

impl Functions {
    fn find(
        instance: &Instance,
        store: &mut Store<Host>,
        exports: &LiveExports,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            save: instance.get_typed_func(&mut *store, &exports.save)?,
            renew: instance.get_typed_func(&mut *store, &exports.renew)?,
            release: instance.get_typed_func(&mut *store, &exports.release)?,
            read: instance.get_typed_func(&mut *store, &exports.read)?,
            write: instance.get_typed_func(&mut *store, &exports.write)?,
        })
    }
}

fn headroom(kind: CodeKind) -> usize {
    match kind {
        CodeKind::Headroom => HEADROOM_BYTES,
        CodeKind::Guarded | CodeKind::Fresh | CodeKind::Concurrent => 0,
    }
}

fn failed(error: wasmtime::Error) -> NotLive {
    NotLive::Failed(format!("{error:#}"))
}

/// Waits for an instantiation, as long as one may take.
pub(crate) async fn bounded_start<T>(starting: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(Duration::from_secs(START_MAX_S), starting)
        .await
        .map_err(|_| format!("it took over {START_MAX_S} s to be instantiated"))
}

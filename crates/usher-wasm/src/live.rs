//! A live environment: one instance for many runs, put back after each.
//!
//! ```text
//! start: instantiate ─→ save globals ─→ prove that no handle exists ─→ image of every memory
//! renew: release what the tool chain left ─→ turn ─→ [handles, globals, base] ─→ determine
//! ```
//!
//! The bracket is one call into the instance, of the code that was added at deploy time. Nothing of
//! a run is then reachable: memories are another area, globals are the image's, the host's table is
//! new, handles are numbered as in a fresh instance. What cannot be put back ends the environment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use usher_core::area::Side;
use usher_core::id::EnvironmentId;
use usher_core::proof::Renewal;
use usher_engine::{RenewError, UsedFacts};
use wasmtime::Store;
use wasmtime::component::{Instance, TypedFunc};
use wasmtime_wasi_http::p2::bindings::Proxy;

use crate::areas::Areas;
use crate::engine::Inner;
use crate::host::{Host, Leftovers};
use crate::image::{Code, WasmImage};
use crate::report::Alive;
use crate::rewrite::LiveExports;
use crate::run::Guest;
use crate::settings::{CodeKind, HEADROOM_BYTES};
use crate::sys::memory::Nursery;

/// Handles that are taken and given back when an environment is started.
const FIRST_HANDLES: u32 = 4;

/// A live environment, between runs.
pub(crate) struct Live {
    pub(crate) guest: Guest,
    pub(crate) rest: LiveRest,
}

/// All of a live environment but its guest.
pub(crate) struct LiveRest {
    pub(crate) image: Arc<WasmImage>,
    pub(crate) areas: Arc<Areas>,
    pub(crate) id: EnvironmentId,
    renew: TypedFunc<(u32, u32), (u32,)>,
    release: TypedFunc<(u32, u32), ()>,
    /// The most handles that any run of this environment can have held at once.
    handles: u32,
    renewal: Renewal,
    renew_us: u32,
    /// Runs whose state was kept on purpose.
    kept: u64,
    _alive: Alive,
}

/// Why a component that was proven live could not be started live.
pub(crate) enum NotLive {
    /// It is not in a condition that can be put back; fresh instances serve it.
    Reason(String),
    /// It could not be started at all.
    Failed(String),
}

impl Live {
    /// Starts an environment and takes its image.
    pub(crate) async fn start(inner: &Arc<Inner>, start: Start<'_>) -> Result<Started, NotLive> {
        let Start {
            code,
            exports,
            revision,
            allowed,
            given,
            known,
        } = start;
        let failed = |error: wasmtime::Error| NotLive::Failed(format!("{error:#}"));
        let mut store = inner.store(code, revision, allowed, given);
        let nursery = Nursery::new(store.data().meter.memory_max_bytes());
        let mut instantiating = Box::pin(code.pre.instantiate_async(&mut store));
        let bounded = std::future::poll_fn(|cx| nursery.during(|| instantiating.as_mut().poll(cx)));
        let instance = bounded_start(bounded)
            .await
            .map_err(NotLive::Failed)?
            .map_err(failed)?;
        drop(instantiating);
        let functions = Functions::find(&instance, &mut store, exports).map_err(failed)?;
        let proxy = Proxy::new(&mut store, &instance).map_err(failed)?;
        if !store.data().table.is_empty() {
            return Err(NotLive::Reason(
                "it holds resources of the host from the start".into(),
            ));
        }
        functions
            .save
            .call_async(&mut store, ())
            .await
            .map_err(failed)?;
        let renewed = functions
            .renew
            .call_async(&mut store, (0, FIRST_HANDLES))
            .await;
        if renewed.is_err() {
            return Err(NotLive::Reason("it holds handles from the start".into()));
        }
        let headroom = match code.kind {
            CodeKind::Headroom => HEADROOM_BYTES,
            CodeKind::Guarded | CodeKind::Fresh => 0,
        };
        let pairs = std::mem::take(&mut *nursery.pairs.lock());
        let (owner, ids) = inner.owner(revision);
        let areas = Areas::freeze(pairs, headroom, known, owner, ids, inner.injected.clone());
        let areas = areas.map_err(|error| {
            NotLive::Failed(format!("no image could be taken of its memories: {error}"))
        })?;
        store.data_mut().meter.freeze();
        areas
            .determine(&store.data().bases)
            .map_err(NotLive::Failed)?;
        Ok(Started {
            guest: Guest { store, proxy },
            areas: Arc::new(areas),
            id: owner.environment,
            functions,
        })
    }

    /// Reads the pointer's record and compares it with the ledger.
    pub(crate) fn determine(&self) -> Result<(), String> {
        self.rest.areas.determine(&self.guest.store.data().bases)
    }

    /// Puts the environment back; answers the side that is to be scrubbed behind its next run.
    pub(crate) async fn renew(&mut self) -> Result<Side, RenewError> {
        let begun = Instant::now();
        let failed = |error: String| RenewError::Failed(error);
        let Self { guest, rest } = self;
        guest.store.set_epoch_deadline(1);
        let dropped = rest.clear(guest).await.map_err(RenewError::Leftover)?;
        rest.handles = rest.handles.max(dropped);
        let left = rest.areas.turn().map_err(failed)?;
        guest.store.data_mut().meter.reset();
        guest.store.data_mut().bases.clear();
        let renewed = rest
            .renew
            .call_async(&mut guest.store, (0, rest.handles))
            .await;
        renewed.map_err(|error| RenewError::Leftover(format!("{error:#}")))?;
        guest.store.data_mut().end();
        rest.renewal = Renewal::Swap;
        rest.renew_us = micros(begun);
        Ok(left)
    }

    /// Keeps the state for the next run.
    pub(crate) fn keep(&mut self) {
        self.rest.kept += 1;
        self.rest.renewal = Renewal::Kept;
        self.rest.renew_us = 0;
    }
}

/// Microseconds since `begun`, rounded up.
pub(crate) fn micros(begun: Instant) -> u32 {
    u32::try_from(begun.elapsed().as_nanos().div_ceil(1_000)).unwrap_or(u32::MAX)
}

impl LiveRest {
    pub(crate) fn facts(&self) -> UsedFacts {
        let current = self.areas.current();
        let mut generation = current.generation;
        generation.0 += self.kept;
        UsedFacts {
            environment: self.id,
            area: current.area,
            generation,
            renewal: self.renewal,
            renew_us: self.renew_us,
        }
    }

    /// Drops what the run has left in the host's table, by the guest's own handles, and answers how
    /// many handles there can have been at once.
    ///
    /// Both tables hand their numbers out alike, so a resource's handle is its index plus one. A
    /// guess that is wrong traps; the renewal then proves that nothing is left.
    async fn clear(&self, guest: &mut Guest) -> Result<u32, String> {
        let Some(exports) = &self.image.code.exports else {
            return Err("it was not rewritten".into());
        };
        for (index, (interface, name)) in guest.store.data_mut().left_behind() {
            let resource = exports.resources.iter().position(|resource| {
                resource.name == name && resource.interface.starts_with(interface)
            });
            let resource = resource.and_then(|resource| u32::try_from(resource).ok());
            let resource = resource.ok_or_else(|| format!("a {name} was left behind"))?;
            let released = self
                .release
                .call_async(&mut guest.store, (resource, index + 1))
                .await;
            released.map_err(|error| format!("a {name} was left behind: {error:#}"))?;
        }
        match guest.store.data_mut().leftovers() {
            Leftovers::None { high_water } => Ok(high_water),
            Leftovers::Some => Err("resources of the host were left behind".into()),
        }
    }
}

/// What an environment is started from.
pub(crate) struct Start<'a> {
    pub(crate) code: &'a Arc<Code>,
    pub(crate) exports: &'a LiveExports,
    pub(crate) revision: &'a usher_core::function::Revision,
    pub(crate) allowed: &'a Arc<usher_core::outbound::AllowList>,
    pub(crate) given: &'a Arc<usher_engine::Given>,
    pub(crate) known: &'a [Arc<crate::sys::image::MemoryImage>],
}

/// A started environment that does not know its image yet.
pub(crate) struct Started {
    guest: Guest,
    pub(crate) areas: Arc<Areas>,
    id: EnvironmentId,
    functions: Functions,
}

impl Started {
    /// Joins it with the image it belongs to.
    pub(crate) fn of(self, image: Arc<WasmImage>, alive: Alive) -> Box<Live> {
        Box::new(Live {
            guest: self.guest,
            rest: LiveRest {
                image,
                areas: self.areas,
                id: self.id,
                renew: self.functions.renew,
                release: self.functions.release,
                handles: FIRST_HANDLES,
                renewal: Renewal::Fresh,
                renew_us: 0,
                kept: 0,
                _alive: alive,
            },
        })
    }
}

/// The functions that the rewriting added.
struct Functions {
    save: TypedFunc<(), ()>,
    renew: TypedFunc<(u32, u32), (u32,)>,
    release: TypedFunc<(u32, u32), ()>,
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
        })
    }
}

/// How long instantiation may take, in seconds.
const START_MAX_S: u64 = 10;

/// Waits for an instantiation, as long as one may take.
pub(crate) async fn bounded_start<T>(starting: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(Duration::from_secs(START_MAX_S), starting)
        .await
        .map_err(|_| format!("it took over {START_MAX_S} s to be instantiated"))
}

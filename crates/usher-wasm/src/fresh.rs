//! A fresh environment: an instance of its own for each run, out of wasmtime's pool.
//!
//! Always right, for every component: nothing is put back but by the pool, which gives each new
//! instance memories and tables in the image's condition. The next instance is made before the old
//! one is dropped, because the pool would otherwise hand the same slot out again.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use usher_core::area::AreaUse;
use usher_core::id::{EnvironmentId, Generation};
use usher_core::proof::Renewal;
use usher_engine::UsedFacts;

use crate::engine::Inner;
use crate::image::{Code, WasmImage};
use crate::live::micros;
use crate::report::Alive;
use crate::run::Guest;
use crate::serving::Serving;
use crate::started::bounded_start;

/// An instance, before or after its one run.
pub(crate) struct Fresh {
    pub(crate) guest: Guest,
    pub(crate) rest: FreshRest,
}

/// All of a fresh environment but its guest.
pub(crate) struct FreshRest {
    pub(crate) image: Arc<WasmImage>,
    pub(crate) id: EnvironmentId,
    area: AreaUse,
    renewal: Renewal,
    renew_us: u32,
    _alive: Alive,
    /// Held where the instance stays, on purpose, after its run.
    _place: Option<OwnedSemaphorePermit>,
}

impl Fresh {
    /// A new instance. Where making it is a `renewal`, its time goes on record.
    pub(crate) async fn start(
        inner: &Arc<Inner>,
        image: &Arc<WasmImage>,
        code: &Arc<Code>,
        place: Option<OwnedSemaphorePermit>,
        renewal: bool,
    ) -> Result<Box<Self>, String> {
        let begun = Instant::now();
        let revision = &image.revision;
        let mut store = inner.store(code, revision, &image.allowed);
        let instance = bounded_start(code.pre.instantiate_async(&mut store)).await?;
        let instance = instance.map_err(|error| format!("{error:#}"))?;
        let serving = Serving::find(code.kind, &mut store, &instance);
        let serving = serving.map_err(|error| format!("{error:#}"))?;
        store.data_mut().meter.freeze();
        let (owner, [area, _]) = inner.owner(revision);
        Ok(Box::new(Self {
            guest: Guest { store, serving },
            rest: FreshRest {
                image: image.clone(),
                id: owner.environment,
                area: AreaUse {
                    area,
                    generation: Generation(1),
                },
                renewal: Renewal::Fresh,
                renew_us: if renewal { micros(begun) } else { 0 },
                _alive: Alive::count(&inner.counters),
                _place: place,
            },
        }))
    }

    /// Keeps the state for the next run.
    pub(crate) fn keep(&mut self) {
        self.rest.area.generation.0 += 1;
        self.rest.renewal = Renewal::Kept;
        self.rest.renew_us = 0;
    }
}

impl FreshRest {
    pub(crate) fn facts(&self) -> UsedFacts {
        UsedFacts {
            environment: self.id,
            area: self.area.area,
            generation: self.area.generation,
            renewal: self.renewal,
            renew_us: self.renew_us,
        }
    }
}

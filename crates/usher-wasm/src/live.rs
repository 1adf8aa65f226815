//! A live environment: one instance for many runs, put back after each.
//!
//! ```text
//! run ─→ release what the tool chain left ─→ turn ─→ [handles, globals, base] ─→ determine ─→ run
//! ```
//!
//! The bracket is one call into the instance, of the code that was added at deploy time. Nothing of
//! a run is then reachable: memories are another area, globals are the image's, the host's table is
//! new, handles are numbered as in a fresh instance. What cannot be put back ends the environment.
//!
//! Deliberately absent: how an environment comes to its image (`started`).

use std::sync::Arc;
use std::time::Instant;

use usher_core::area::Side;
use usher_core::id::EnvironmentId;
use usher_core::proof::Renewal;
use usher_engine::{RenewError, UsedFacts};
use wasmtime::component::TypedFunc;

use crate::areas::Areas;
use crate::host::Leftovers;
use crate::image::WasmImage;
use crate::report::Alive;
use crate::rewrite::LiveExports;
use crate::run::Guest;

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

impl Live {
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
        let exports = rest.image.code.exports.as_ref();
        let exports = exports.ok_or_else(|| failed("it was not rewritten".into()))?;
        let dropped = release_left(guest, exports, &rest.release).await;
        let dropped = dropped.map_err(RenewError::Leftover)?;
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

/// The functions that were added at deploy time: `renew` and `release`.
pub(crate) type Added = (TypedFunc<(u32, u32), (u32,)>, TypedFunc<(u32, u32), ()>);

impl LiveRest {
    /// Of an environment that has not run yet; `functions` are `renew` and `release`.
    pub(crate) fn new(
        image: Arc<WasmImage>,
        areas: Arc<Areas>,
        id: EnvironmentId,
        functions: Added,
        handles: u32,
        alive: Alive,
    ) -> Self {
        let (renew, release) = functions;
        Self {
            image,
            areas,
            id,
            renew,
            release,
            handles,
            renewal: Renewal::Fresh,
            renew_us: 0,
            kept: 0,
            _alive: alive,
        }
    }

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
}

/// Drops what a run has left in the host's table, by the guest's own handles, and answers how many
/// handles there can have been at once.
///
/// Both tables hand their numbers out alike, so a resource's handle is its index plus one. A guess
/// that is wrong traps; the renewal then proves that nothing is left.
pub(crate) async fn release_left(
    guest: &mut Guest,
    exports: &LiveExports,
    release: &TypedFunc<(u32, u32), ()>,
) -> Result<u32, String> {
    for (index, (interface, name)) in guest.store.data_mut().left_behind() {
        let mut resources = exports.resources.iter();
        let resource = resources.position(|resource| {
            resource.name == name && resource.interface.starts_with(interface)
        });
        let resource = resource.and_then(|resource| u32::try_from(resource).ok());
        let resource = resource.ok_or_else(|| format!("a {name} was left behind"))?;
        let released = release.call_async(&mut guest.store, (resource, index + 1));
        released
            .await
            .map_err(|error| format!("a {name} was left behind: {error:#}"))?;
    }
    match guest.store.data_mut().leftovers() {
        Leftovers::None { high_water } => Ok(high_water),
        Leftovers::Some => Err("resources of the host were left behind".into()),
    }
}

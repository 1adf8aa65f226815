//! The numbers of environments and areas: one sequence for all engines of a process, so that none
//! is ever given out twice.

use std::sync::atomic::{AtomicU64, Ordering};

use usher_core::id::{AreaId, EnvironmentId};

static ENVIRONMENTS: AtomicU64 = AtomicU64::new(1);
static AREAS: AtomicU64 = AtomicU64::new(1);

/// A new environment's number.
pub fn environment_id() -> EnvironmentId {
    EnvironmentId(ENVIRONMENTS.fetch_add(1, Ordering::Relaxed))
}

/// Numbers for the areas of a new environment.
pub fn area_ids<const COUNT: usize>() -> [AreaId; COUNT] {
    let first = AREAS.fetch_add(COUNT as u64, Ordering::Relaxed);
    std::array::from_fn(|at| AreaId(first + at as u64))
}

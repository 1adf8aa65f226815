//! The engines of wasmtime that serve components, and what each is set to.
//!
//! | kind | serves | memories | access behind the size |
//! | --- | --- | --- | --- |
//! | guarded | live | ours, two areas | guard pages trap |
//! | headroom | live, small and growing | ours, some open behind the size | explicit checks trap |
//! | fresh | one instance per request | wasmtime's pool | guard pages trap |
//! | concurrent | wasi:http 0.3, one instance per request | a pool of its own | guard pages trap |
//!
//! Only the last one can run several tasks in a store: the other engines have no such state, so
//! that none of it can outlive a renewal, and their calls do not pay for it.
//!
//! Each is made when the first component needs it. Code is compiled for one kind and never run by
//! another. Deliberately absent: which kind a component gets (`child`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::sys::memory::AreaCreator;

/// Which engine code is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CodeKind {
    /// Live renewal, guard pages behind each memory.
    Guarded,
    /// Live renewal, open pages behind each memory and explicit bounds checks.
    Headroom,
    /// A new instance for each request.
    Fresh,
    /// A new instance for each request, whose tasks, streams and futures the store keeps.
    Concurrent,
}

impl CodeKind {
    /// How many kinds there are.
    pub(crate) const COUNT: usize = 4;

    /// Whether the rewritten component is served, by instances that stay.
    pub(crate) const fn is_live(self) -> bool {
        matches!(self, Self::Guarded | Self::Headroom)
    }

    /// The name of its file in the cache.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Guarded => "guarded",
            Self::Headroom => "headroom",
            Self::Fresh => "fresh",
            Self::Concurrent => "concurrent",
        }
    }
}

/// Room behind a memory's size that stays open under [`CodeKind::Headroom`], in bytes: growth
/// within it needs no system call.
pub(crate) const HEADROOM_BYTES: usize = 1 << 20;

/// A guest's stack, in bytes.
pub(crate) const GUEST_STACK_BYTES: usize = 512 << 10;

/// The stack of a fibre that a guest runs on, in bytes: its own and that of the host calls it
/// makes.
const FIBRE_STACK_BYTES: usize = 1 << 20;

/// Bounds of the pool that fresh instances come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshPool {
    /// Component instances alive at once.
    pub instances_max: u32,
    /// Bytes of each memory that are kept and put back page by page when its slot is reused.
    pub keep_resident_bytes: usize,
}

impl Default for FreshPool {
    fn default() -> Self {
        Self {
            instances_max: 512,
            keep_resident_bytes: 16 << 20,
        }
    }
}

/// The largest memory that any engine allows, in bytes: what 32 bits can address.
const MEMORY_MAX_BYTES: usize = 1 << 32;

/// What an engine of this kind is set to.
pub(crate) fn config(kind: CodeKind, pool: FreshPool) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBRE_STACK_BYTES)
        .async_stack_zeroing(true)
        .concurrency_support(kind == CodeKind::Concurrent)
        .cranelift_opt_level(OptLevel::Speed);
    match kind {
        CodeKind::Guarded => {
            config.with_host_memory(Arc::new(AreaCreator));
            config.memory_init_cow(false);
        }
        CodeKind::Headroom => {
            config.with_host_memory(Arc::new(AreaCreator));
            config
                .memory_init_cow(false)
                .memory_reservation(0)
                .memory_reservation_for_growth(0)
                .memory_guard_size(0)
                .memory_may_move(true)
                .signals_based_traps(false);
        }
        CodeKind::Fresh => {
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling(pool)));
        }
        CodeKind::Concurrent => {
            let mut pooling = pooling(pool);
            pooling.total_stacks(pool.instances_max.saturating_mul(STACKS_PER_CONCURRENT));
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pooling));
        }
    }
    config
}

/// Core instances, memories and tables that one component may have in the pool, on average.
const PER_COMPONENT: u32 = 4;
/// Fibres that one concurrent instance may have in the pool, on average: that of its task, and
/// those of the calls between its parts that wait.
const STACKS_PER_CONCURRENT: u32 = 4;
/// Memories, and tables, that one component may have in the pool, all in one module if it likes.
const PER_COMPONENT_MAX: u32 = 20;

fn pooling(pool: FreshPool) -> PoolingAllocationConfig {
    let mut pooling = PoolingAllocationConfig::new();
    let many = pool.instances_max.saturating_mul(PER_COMPONENT);
    pooling
        .total_component_instances(pool.instances_max)
        .total_core_instances(many.saturating_mul(PER_COMPONENT))
        .total_memories(many)
        .total_tables(many)
        .total_stacks(pool.instances_max)
        .max_core_instances_per_component(100)
        .max_memories_per_component(PER_COMPONENT_MAX)
        .max_tables_per_component(PER_COMPONENT_MAX)
        .max_memories_per_module(PER_COMPONENT_MAX)
        .max_tables_per_module(PER_COMPONENT_MAX)
        .table_elements(200_000)
        .max_memory_size(MEMORY_MAX_BYTES)
        .linear_memory_keep_resident(pool.keep_resident_bytes)
        .table_keep_resident(1 << 20)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(Enabled::Auto)
        .memory_protection_keys(Enabled::Auto);
    pooling
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// What a store keeps of tasks and streams would outlive a renewal, and costs each call
    /// something.
    #[test]
    fn only_the_concurrent_kind_has_tasks_in_its_stores() {
        let kinds = [
            CodeKind::Guarded,
            CodeKind::Headroom,
            CodeKind::Fresh,
            CodeKind::Concurrent,
        ];
        assert_eq!(kinds.len(), CodeKind::COUNT);
        let pool = FreshPool {
            instances_max: 1,
            ..FreshPool::default()
        };
        for kind in kinds {
            let engine = wasmtime::Engine::new(&config(kind, pool)).unwrap();
            let concurrent = engine.get_concurrency_support();
            assert_eq!(concurrent, kind == CodeKind::Concurrent, "{}", kind.word());
        }
    }
}

//! What this machine gives the engine, and what the engine makes of it.
//!
//! Deliberately absent: any choice. It is made where the mechanism is, by behaviour, and read here.

use std::fs;

use wasmtime::PoolingAllocationConfig;

use crate::sys::tracker::Tracker;

/// How many mappings a process may have.
const MAPPINGS_MAX_FILE: &str = "/proc/sys/vm/max_map_count";

/// How the changed pages of a used area are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangedPages {
    /// By a userfaultfd and the kernel's page scan.
    Written,
    /// By the kernel's page scan alone, which looks at every page that is there.
    Private,
    /// Not at all: used areas are dropped whole.
    Whole,
}

/// What this machine gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// How changed pages are found.
    pub changed_pages: ChangedPages,
    /// Whether the pool of fresh instances separates them by memory protection keys.
    pub protection_keys: bool,
    /// How many mappings a process may have; none: the kernel does not say.
    pub mappings_max: Option<u64>,
}

/// Looks at this machine. The choices are those that an engine in this process has made or would
/// make.
pub fn means() -> Means {
    let mappings_max = fs::read_to_string(MAPPINGS_MAX_FILE).ok();
    Means {
        changed_pages: match Tracker::get() {
            Tracker::Written(..) => ChangedPages::Written,
            Tracker::Private(_) => ChangedPages::Private,
            Tracker::Whole => ChangedPages::Whole,
        },
        protection_keys: PoolingAllocationConfig::are_memory_protection_keys_available(),
        mappings_max: mappings_max.and_then(|text| text.trim().parse().ok()),
    }
}

//! No core dump of the platform: its memory holds secrets and what callers send.
//!
//! Deliberately absent: a fence against the machine's root, who can read any memory.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Bytes of a core dump: less than any has, and the one number at which the kernel does not start a
/// handler of dumps either, which it does at zero.
const CORE_MAX_BYTES: u64 = 1;

/// From now on neither this process nor one that it starts leaves a core dump.
pub(crate) fn never() {
    let bound = Some(CORE_MAX_BYTES);
    let limit = Rlimit {
        current: bound,
        maximum: bound,
    };
    if let Err(error) = setrlimit(Resource::Core, limit) {
        tracing::warn!(%error, "core dumps of the platform are not switched off");
    }
}

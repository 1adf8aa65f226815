//! Loading of machine code that this platform compiled itself.
//!
//! Compiled code is trusted: whoever can write it can do anything. So it is never taken from a
//! user, lies in the platform's own folder, and is loaded only when its checksum is the one that
//! was recorded when it was made.

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

/// Maps compiled code from a file of the platform's own cache.
///
/// The caller has compared the file with its recorded checksum. wasmtime itself refuses code of
/// another version or of other settings.
pub(crate) fn map_own(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: the file was written by this platform's own compiler process into a folder that only
    // it writes to, and its checksum was compared just before; it is replaced by renaming, never
    // changed in place.
    unsafe { Component::deserialize_file(engine, path) }
}

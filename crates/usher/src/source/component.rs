//! A component's file.
//!
//! Deliberately absent: what is in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use usher_api::manifest::MANIFEST_FILE;

/// The largest component that is read, in MiB; the controller takes no larger one.
const COMPONENT_MAX_MIB: u64 = 256;

/// The component that the manifest of a folder names.
pub(super) fn named(folder: &Path, file: &str) -> anyhow::Result<Bytes> {
    let component = folder.join(file);
    ensure!(
        component.exists(),
        "{} says that the component is {file:?}, and {} is not there; build it first (--build \
         runs the manifest's build command), or correct the manifest",
        folder.join(MANIFEST_FILE).display(),
        component.display()
    );
    read(&component)
}

/// A component's bytes.
pub(super) fn read(path: &Path) -> anyhow::Result<Bytes> {
    let unreadable = || format!("{} cannot be read", path.display());
    let about = fs::metadata(path).with_context(unreadable)?;
    if !about.is_file() {
        bail!("{} is no file; name a component", path.display());
    }
    ensure!(
        about.len() <= COMPONENT_MAX_MIB << 20,
        "{} has {} MiB, and a component has at most {COMPONENT_MAX_MIB}; strip it of its debug \
         sections",
        path.display(),
        about.len() >> 20
    );
    Ok(fs::read(path).with_context(unreadable)?.into())
}

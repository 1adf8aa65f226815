//! The file of the generation page, one for each sandbox: the platform writes it, and the program
//! sees it through a mount that is read-only for good.
//!
//! ```text
//! tmpfs of one file ─ aside, where the old root is ──────► gone with it; the open file stays
//!        ├─ open for writing ─► the platform's
//!        └─ its file, as a read-only mount ─► /opt/usher/generation
//! ```
//!
//! Deliberately absent: what is written (`restored::page`).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, fchmod, open, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::wire::{Failure, Step as _};
use crate::restored::page::{NAME, PAGE_BYTES};
use crate::restored::shims::FOLDER;
use crate::sys;

/// What the file's own tmpfs is covered with until it goes with the old root. Nothing of the old
/// root is looked up below it any more.
const ASIDE: &str = "/proc";
const READABLE: Mode = Mode::RUSR.union(Mode::RGRP).union(Mode::ROTH);

/// Puts the file into the new root at `place`, before the old one is left; returns it, open for
/// writing. None: the root has no place for it.
pub(super) fn mount(place: &Path) -> Result<Option<OwnedFd>, Failure> {
    let what = "the generation page could not be made";
    let there = place.join(FOLDER.trim_start_matches('/')).join(NAME);
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let there = match open(there, flags, Mode::empty()) {
        Ok(there) => there,
        Err(Errno::NOENT) => return Ok(None),
        Err(other) => return Err(other).step(what),
    };
    let tmpfs = tmpfs().step(what)?;
    let by_number = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tmpfs, "", CWD, ASIDE, by_number).step(what)?;
    let file = page(&tmpfs).step(what)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let seen = open_tree(&tmpfs, NAME, flags).step(what)?;
    let attributes = libc::MOUNT_ATTR_RDONLY
        | libc::MOUNT_ATTR_NOSUID
        | libc::MOUNT_ATTR_NODEV
        | libc::MOUNT_ATTR_NOEXEC;
    sys::mount::set_attributes(&seen, attributes, false).step(what)?;
    let flags = by_number | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&seen, "", &there, "", flags).step(what)?;
    Ok(Some(file))
}

/// Room for one page, mounted nowhere.
fn tmpfs() -> rustix::io::Result<OwnedFd> {
    let made = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [("size", "4096"), ("nr_inodes", "2"), ("mode", "555")] {
        fsconfig_set_string(&made, name, value)?;
    }
    fsconfig_create(&made)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// The file, full of zeros, so that its page is the sandbox's.
fn page(tmpfs: &OwnedFd) -> std::io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
    let file = openat(tmpfs, NAME, flags, READABLE)?;
    // The mask of this process must not take from it.
    fchmod(&file, READABLE)?;
    let file = std::fs::File::from(file);
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; PAGE_BYTES], 0)?;
    Ok(file.into())
}

//! A program's secrets as files in memory, which nobody else reads and nobody writes.
//!
//! ```text
//! platform: values ─► file without a name, in memory ─► first process of the sandbox
//!           ─► tmpfs that hangs nowhere, filled, made read-only ─► /run/secrets
//! ```
//!
//! The files belong to the program's user and have mode 0400. They are never swapped where the
//! kernel can see to that, and go with the sandbox. Deliberately absent: which secrets these are.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::fchown;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, fchmod, memfd_create, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use usher_core::secret::Secret;

use super::wire::{Failure, Step as _};
use crate::sys;

/// Where a program finds its secrets, each in a file of its own.
pub const SECRETS_FOLDER: &str = "/run/secrets";
/// What may be read of the platform's file, in bytes: far more than all secrets have together.
const PACKED_MAX_BYTES: u64 = 16 << 20;
/// Memory is given out in pages of this size.
const PAGE_BYTES: u64 = 4 << 10;
/// Of the folder and of each file in it: only the program's user reads.
const FOLDER_MODE: &str = "500";
const FILE_MODE: Mode = Mode::RUSR;

/// The secrets in a file of memory that has no name; none: there are none.
pub(super) fn packed(secrets: &[(String, Secret)]) -> io::Result<Option<OwnedFd>> {
    if secrets.is_empty() {
        return Ok(None);
    }
    let file = memfd_create("usher-secrets", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    for (name, value) in secrets {
        for part in [name.as_bytes(), value.bytes()] {
            let length = u32::try_from(part.len()).map_err(io::Error::other)?;
            file.write_all(&length.to_be_bytes())?;
            file.write_all(part)?;
        }
    }
    Ok(Some(file.into()))
}

fn unpacked(file: OwnedFd) -> io::Result<Vec<(String, Secret)>> {
    let mut file = File::from(file);
    file.seek(SeekFrom::Start(0))?;
    let mut file = file.take(PACKED_MAX_BYTES);
    let mut secrets = Vec::new();
    while let Some(name) = part(&mut file)? {
        let value = part(&mut file)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let name = String::from_utf8(name).map_err(io::Error::other)?;
        secrets.push((name, Secret::new(value)));
    }
    Ok(secrets)
}

fn part(file: &mut impl io::Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match file.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// Mounts the secrets of a file that [`packed`] has made, for this user.
pub(super) fn mount(file: OwnedFd, user: u32) -> Result<(), Failure> {
    let what = "the function's secrets could not be mounted";
    let secrets = unpacked(file).step(what)?;
    let tmpfs = tmpfs(&secrets, user, true).or_else(|_| tmpfs(&secrets, user, false));
    let tmpfs = tmpfs.step(what)?;
    for (name, value) in &secrets {
        put(&tmpfs, name, value, user).step(what)?;
    }
    sys::mount::set_attributes(&tmpfs, libc::MOUNT_ATTR_RDONLY, false).step(what)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tmpfs, "", CWD, SECRETS_FOLDER, flags).step(
        "the root has no empty folder run/secrets for the function's secrets to be mounted on",
    )
}

/// Room for the secrets, mounted nowhere. Kernels before 6.4 cannot keep it from being swapped.
fn tmpfs(secrets: &[(String, Secret)], user: u32, never_swapped: bool) -> io::Result<OwnedFd> {
    let pages = secrets.iter().map(|(_, value)| {
        let bytes = u64::try_from(value.bytes().len()).unwrap_or(u64::MAX);
        bytes.div_ceil(PAGE_BYTES)
    });
    let size = pages
        .sum::<u64>()
        .max(1)
        .saturating_mul(PAGE_BYTES)
        .to_string();
    // The folder has one too.
    let files = secrets.len().saturating_add(1).to_string();
    let user = user.to_string();
    let made = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [
        ("size", size.as_str()),
        ("nr_inodes", &files),
        ("mode", FOLDER_MODE),
        ("uid", &user),
        ("gid", &user),
    ] {
        fsconfig_set_string(&made, name, value)?;
    }
    if never_swapped {
        fsconfig_set_flag(&made, "noswap")?;
    }
    fsconfig_create(&made)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&made, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn put(tmpfs: &OwnedFd, name: &str, value: &Secret, user: u32) -> io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(tmpfs, name, flags, FILE_MODE)?;
    let mut file = File::from(file);
    file.write_all(value.bytes())?;
    // The mask of this process must not take from it.
    fchmod(&file, FILE_MODE)?;
    fchown(&file, Some(user), Some(user))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        assert!(packed(&[]).unwrap().is_none());
        let secrets = [("A", &b"one"[..]), ("EMPTY", b""), ("BYTES", b"\0\xff\n")];
        let secrets = secrets.map(|(name, value)| (name.to_owned(), Secret::new(value.to_vec())));
        let file = packed(&secrets).unwrap().unwrap();
        let found = unpacked(file).unwrap();
        assert_eq!(found.len(), secrets.len());
        for ((name, value), (found, bytes)) in secrets.iter().zip(&found) {
            assert_eq!((name, value.bytes()), (found, bytes.bytes()));
        }
    }
}

//! The root that every sandbox sees: made once, in the spawner's own view of the mounts, and
//! read-only.
//!
//! Each sandbox starts with a copy of the spawner's mounts and turns into this root, so that the
//! work is done once. Nothing in it belongs to one sandbox: `/proc`, `/tmp`, `/dev/shm`,
//! `/var/task` and `/run/secrets` are places, on which each puts its own.
//!
//! ```text
//! /           tmpfs, or the given folder                    read-only
//! /usr /bin … the host's, links where the host has links    read-only, nosuid, nodev
//! /etc        what programs look up, and nothing of hosts' own settings
//! /opt/usher  the shims of the restored hook
//! /dev        null zero full random urandom, links to the standard descriptors
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree};

use super::Root;
use super::wire::{Failure, Step as _};
use crate::restored::shims::{FILES, FOLDER};
use crate::sys;

/// Bytes of the tmpfs that holds folders, links and the few files of `/etc`.
const FRAME_MAX_BYTES: u64 = 8 << 20;
/// A file of the host's `/etc` that is larger than this is not copied.
const COPY_MAX_BYTES: u64 = 1 << 20;

/// What of the host's root is seen as it is.
const SHARED: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Folders of `/etc` that runtimes look into.
const ETC_FOLDERS: [&str; 9] = [
    "alternatives",
    "ssl/certs",
    "ca-certificates",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "crypto-policies",
    "fonts",
    "java",
    "perl",
];
/// Files of `/etc` that runtimes look up.
const ETC_FILES: [&str; 14] = [
    "ld.so.cache",
    "ld-musl-x86_64.path",
    "ssl/openssl.cnf",
    "pki/tls/openssl.cnf",
    "localtime",
    "timezone",
    "mime.types",
    "protocols",
    "services",
    "os-release",
    "debian_version",
    "magic",
    "gai.conf",
    "host.conf",
];
/// Files of `/etc` that are made, the same for all sandboxes.
const ETC_MADE: [(&str, &str); 6] = [
    (
        "passwd",
        "root:x:0:0:root:/:/usr/sbin/nologin\nfunction:x:1000:1000:function:/tmp:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n",
    ),
    ("group", "root:x:0:\nfunction:x:1000:\nnogroup:x:65534:\n"),
    (
        "hosts",
        // Not ::1 as well: a server that is bound to "localhost" is to be reached at 127.0.0.1.
        "127.0.0.1 localhost function\n::1 ip6-localhost\n",
    ),
    ("hostname", "function\n"),
    (
        "nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    ),
    (
        "resolv.conf",
        "nameserver 127.0.0.1\noptions attempts:1 timeout:1\n",
    ),
];
/// Devices that programs may use.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Places on which each sandbox mounts what is its own.
const PLACES: [(&str, u32); 4] = [
    ("proc", 0o555),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/task", 0o755),
];
/// The same, without which a root of one's own does too.
const RUN: [(&str, u32); 2] = [("run", 0o755), ("run/secrets", 0o755)];

/// Mounts the root at `place`, an empty folder.
pub(super) fn make(root: &Root, place: &Path) -> Result<(), Failure> {
    match root {
        Root::Host => {
            frame(place, FRAME_MAX_BYTES)?;
            for (path, mode) in PLACES.into_iter().chain(RUN) {
                folder(&place.join(path), mode)?;
            }
            for name in SHARED {
                share(&Path::new("/").join(name), &place.join(name))?;
            }
            etc(&place.join("etc"))?;
            folder(&place.join("opt"), 0o755)?;
            shims(&shims_in(place))?;
            folder(&place.join("dev"), 0o755)?;
        }
        Root::Folder(path) => {
            graft(
                path,
                place,
                libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
            )?;
            for name in PLACES.iter().map(|(path, _)| *path).chain(["dev"]) {
                if !place.join(name).is_dir() {
                    let what = format!(
                        "the root folder {} has no folder {name}; make an empty one",
                        path.display()
                    );
                    let errno = libc::ENOENT;
                    return Err(Failure { what, errno });
                }
            }
        }
    }
    if let Root::Folder(path) = root
        && takes_shims(path)
    {
        let place = shims_in(place);
        frame(&place, FRAME_MAX_BYTES)?;
        shims(&place)?;
        seal(&place)?;
    }
    devices(&place.join("dev"))?;
    seal(place)
}

/// Whether a root folder has the place on which the shims are mounted.
pub(super) fn takes_shims(root: &Path) -> bool {
    shims_in(root).is_dir()
}

/// Where the shims are, below a root.
fn shims_in(root: &Path) -> PathBuf {
    root.join(FOLDER.trim_start_matches('/'))
}

fn shims(place: &Path) -> Result<(), Failure> {
    folder(place, 0o755)?;
    for (name, content) in FILES {
        file(&place.join(name), content)?;
    }
    Ok(())
}

/// The tree below `path` as a mount that hangs nowhere, read-only and without set-user-ids.
pub(super) fn tree(path: &Path, attributes: u64) -> io::Result<std::os::fd::OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, path, flags)?;
    sys::mount::set_attributes(&tree, libc::MOUNT_ATTR_RDONLY | attributes, true)?;
    Ok(tree)
}

/// A small tmpfs on `place`, writable until it is sealed.
fn frame(place: &Path, bytes: u64) -> Result<(), Failure> {
    let data = std::ffi::CString::new(format!("mode=755,size={bytes}")).map_err(io::Error::other);
    let data = data.step("the root's options could not be written")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("usher", place, "tmpfs", flags, data.as_c_str())
        .step("a tmpfs for the root could not be mounted")
}

fn seal(place: &Path) -> Result<(), Failure> {
    let what = "the root could not be made read-only";
    let tree = open_tree(CWD, place, OpenTreeFlags::OPEN_TREE_CLOEXEC).step(what)?;
    sys::mount::set_attributes(&tree, libc::MOUNT_ATTR_RDONLY, false).step(what)
}

fn folder(path: &Path, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path);
    // The mask of this process must not take from the mode.
    made.and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .step(&format!("{} could not be made", path.display()))
}

/// Shows `from` at `to`: a link as the same link, a folder as a mount, nothing if there is none.
fn share(from: &Path, to: &Path) -> Result<(), Failure> {
    let Ok(about) = from.symlink_metadata() else {
        return Ok(());
    };
    if about.is_symlink() {
        let linked = fs::read_link(from).and_then(|target| symlink(target, to));
        return linked.step(&format!("{} could not be linked", to.display()));
    }
    if about.is_dir() {
        folder(to, 0o755)?;
        graft(from, to, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)?;
    }
    Ok(())
}

fn graft(from: &Path, to: &Path, attributes: u64) -> Result<(), Failure> {
    let what = || format!("{} could not be mounted", from.display());
    let tree = tree(from, attributes).step(&what())?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tree, "", CWD, to, flags).step(&what())
}

fn etc(place: &Path) -> Result<(), Failure> {
    folder(place, 0o755)?;
    let host = Path::new("/etc");
    // Java and Python keep their settings in folders that carry their version.
    let versions = fs::read_dir(host).into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| entry.file_name().into_string().ok());
    let versions = versions.filter(|name| name.starts_with("java-") || name.starts_with("python3"));
    for name in ETC_FOLDERS.map(str::to_owned).into_iter().chain(versions) {
        let from = host.join(&name);
        if from.symlink_metadata().is_ok_and(|about| about.is_dir()) {
            folder(&place.join(&name), 0o755)?;
            graft(
                &from,
                &place.join(&name),
                libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
            )?;
        }
    }
    for name in ETC_FILES {
        let from = host.join(name);
        let fits = |about: fs::Metadata| about.is_file() && about.len() <= COPY_MAX_BYTES;
        if from.metadata().is_ok_and(fits) {
            let content = fs::read(&from).step(&format!("{} is unreadable", from.display()))?;
            file(&place.join(name), &content)?;
        }
    }
    for (name, content) in ETC_MADE {
        file(&place.join(name), content.as_bytes())?;
    }
    Ok(())
}

fn file(path: &Path, content: &[u8]) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(parent) = path.parent() {
        folder(parent, 0o755)?;
    }
    let written = fs::write(path, content)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)));
    written.step(&format!("{} could not be written", path.display()))
}

fn devices(place: &Path) -> Result<(), Failure> {
    frame(place, FRAME_MAX_BYTES)?;
    for name in DEVICES {
        let to = place.join(name);
        file(&to, b"")?;
        let from = Path::new("/dev").join(name);
        graft(
            &from,
            &to,
            libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        )?;
    }
    folder(&place.join("shm"), 0o1777)?;
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (name, target) in links {
        symlink(target, place.join(name)).step("/dev could not be filled")?;
    }
    seal(place)
}

/// Where in the spawner's view the root is mounted.
pub(super) fn place(state_folder: &Path) -> PathBuf {
    state_folder.join("root")
}

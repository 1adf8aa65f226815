//! The files of a folder in memory: what there is, and what makes it what it was.
//!
//! Every path is opened below the folder without following any link, so that no name that a program
//! has chosen leads out of it. Deliberately absent: when that is done (`scratch`).

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps,
    XattrFlags, chmodat, fchmod, fgetxattr, flistxattr, flistxattr_query, fremovexattr, fsetxattr,
    fstat, ftruncate, futimens, ioctl_getflags, ioctl_setflags, mkdirat, openat2, readlinkat,
    statat, symlinkat, unlinkat, utimensat,
};

/// Files and folders that are looked at; more is too much to be put back.
const ENTRIES_MAX: usize = 16 << 10;
/// Bytes of all files of a snapshot together.
const CONTENT_MAX_BYTES: usize = 16 << 20;
/// Bytes of one attribute, and of the list of their names.
const ATTRIBUTE_MAX_BYTES: usize = 64 << 10;

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// All files below a folder by their paths; the folder itself is the empty path.
pub(super) type Tree = BTreeMap<PathBuf, Node>;

/// One file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Node {
    inode: u64,
    mode: u32,
    flags: u32,
    /// Seconds and nanoseconds of its last change of content.
    changed: (i64, i64),
    attributes: BTreeMap<CString, Vec<u8>>,
    content: Content,
}

/// What is in it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Content {
    Folder,
    File(Vec<u8>),
    Link(Vec<u8>),
    /// A pipe or socket by name.
    Other,
}

/// What is to be done to a path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Remove what is there.
    Remove,
    /// Make it as it was.
    Make,
    /// Give a file its bytes back.
    Write,
    /// Give it its mode, flags, times and attributes back.
    Describe,
}

/// Reads the tree below `root`: of files that `wanted` names the content too.
pub(super) fn read(root: &OwnedFd, wanted: impl Fn(&Path) -> bool) -> io::Result<Tree> {
    let mut tree = Tree::new();
    let mut bytes = 0;
    let mut folders = vec![PathBuf::new()];
    tree.insert(
        PathBuf::new(),
        node(root.as_fd(), Path::new(""), &mut bytes, false)?,
    );
    while let Some(folder) = folders.pop() {
        for entry in Dir::new(open(root, &folder, OFlags::DIRECTORY)?)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let path = folder.join(name);
            let node = node(root.as_fd(), &path, &mut bytes, wanted(&path))?;
            if node.content == Content::Folder {
                folders.push(path.clone());
            }
            tree.insert(path, node);
            if tree.len() > ENTRIES_MAX {
                return Err(io::Error::from_raw_os_error(libc::E2BIG));
            }
        }
    }
    Ok(tree)
}

/// What makes `now` into `then`, in the order in which it is to be done.
pub(super) fn steps(then: &Tree, now: &Tree) -> Vec<(PathBuf, Step)> {
    let mut steps = Vec::new();
    let mut made = Vec::new();
    // What is in a folder goes before the folder.
    for (path, node) in now.iter().rev() {
        let stays = then.get(path).is_some_and(|was| is_same_file(was, node));
        if !stays {
            steps.push((path.clone(), Step::Remove));
        }
    }
    for (path, was) in then {
        match now.get(path).filter(|node| is_same_file(was, node)) {
            None => {
                steps.push((path.clone(), Step::Make));
                made.push(path);
            }
            Some(node) if was.content != node.content => steps.push((path.clone(), Step::Write)),
            Some(_) => {}
        }
    }
    let busy: Vec<PathBuf> = steps.iter().map(|(path, _)| path.clone()).collect();
    // Whatever was done in a folder has changed its time, so that folders come last.
    for (path, was) in then.iter().rev() {
        let within = |changed: &PathBuf| changed == path || changed.parent() == Some(path);
        let described = now.get(path).is_some_and(|node| {
            (was.mode, was.flags, was.changed) == (node.mode, node.flags, node.changed)
                && was.attributes == node.attributes
        });
        if !described || busy.iter().any(within) {
            steps.push((path.clone(), Step::Describe));
        }
    }
    steps
}

/// A link has no content to be written, so that another target is another file.
fn is_same_file(was: &Node, node: &Node) -> bool {
    was.inode == node.inode
        && match (&was.content, &node.content) {
            (Content::Link(was), Content::Link(now)) => was == now,
            (was, now) => std::mem::discriminant(was) == std::mem::discriminant(now),
        }
}

/// Does one step below `root`. What was made anew is from then on the file of the snapshot.
pub(super) fn act(root: &OwnedFd, then: &mut Tree, path: &Path, step: Step) -> io::Result<()> {
    if step == Step::Remove {
        return remove(root, path);
    }
    let missing = || io::Error::from_raw_os_error(libc::ENOENT);
    let node = then.get_mut(path).ok_or_else(missing)?;
    perform(root, node, path, step)?;
    if step == Step::Make {
        node.inode = about(root, path)?.st_ino;
    }
    Ok(())
}

fn perform(root: &OwnedFd, node: &Node, path: &Path, step: Step) -> io::Result<()> {
    match (step, &node.content) {
        (Step::Make, Content::Folder) => {
            let (parent, name) = parent(root, path)?;
            mkdirat(&parent, name, Mode::RWXU)?;
            owned(root, open(root, path, OFlags::DIRECTORY)?)?;
            Ok(())
        }
        (Step::Make, Content::Link(target)) => {
            let (parent, name) = parent(root, path)?;
            Ok(symlinkat(OsStr::from_bytes(target), &parent, name)?)
        }
        (Step::Make, Content::File(bytes)) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let mut file = File::from(owned(root, open(root, path, flags)?)?);
            file.write_all(bytes)
        }
        (Step::Write, Content::File(bytes)) => {
            let mut file = File::from(open(root, path, OFlags::WRONLY)?);
            file.write_all(bytes)?;
            Ok(ftruncate(&file, bytes.len() as u64)?)
        }
        (Step::Describe, _) => describe(root, path, node),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    }
}

/// Gives a new file to whom the folder belongs: the program's user, the only one in its sandbox.
fn owned(root: &OwnedFd, file: OwnedFd) -> io::Result<OwnedFd> {
    let owner = fstat(root)?;
    std::os::unix::fs::fchown(&file, Some(owner.st_uid), Some(owner.st_gid))?;
    Ok(file)
}

fn remove(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let (parent, name) = parent(root, path)?;
    let about = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_folder = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
    let flags = if is_folder {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    Ok(unlinkat(&parent, name, flags)?)
}

fn describe(root: &OwnedFd, path: &Path, node: &Node) -> io::Result<()> {
    let time = Timespec {
        tv_sec: node.changed.0,
        tv_nsec: node.changed.1,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    if matches!(node.content, Content::Link(_) | Content::Other) {
        let (parent, name) = parent(root, path)?;
        if node.content == Content::Other {
            chmodat(
                &parent,
                name,
                Mode::from_raw_mode(node.mode),
                AtFlags::empty(),
            )?;
        }
        return Ok(utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?);
    }
    let file = open(root, path, OFlags::RDONLY)?;
    fchmod(&file, Mode::from_raw_mode(node.mode))?;
    let now = attributes(file.as_fd())?;
    for name in now
        .keys()
        .filter(|name| !node.attributes.contains_key(*name))
    {
        fremovexattr(&file, name.as_c_str())?;
    }
    for (name, value) in &node.attributes {
        if now.get(name) != Some(value) {
            fsetxattr(&file, name.as_c_str(), value, XattrFlags::empty())?;
        }
    }
    if flags_of(file.as_fd()) != node.flags {
        ioctl_setflags(&file, IFlags::from_bits_retain(node.flags))?;
    }
    Ok(futimens(&file, &times)?)
}

fn about(root: impl AsFd, path: &Path) -> io::Result<Stat> {
    if path.as_os_str().is_empty() {
        return Ok(fstat(root)?);
    }
    let (parent, name) = parent(root, path)?;
    Ok(statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn parent(root: impl AsFd, path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let none = || io::Error::from_raw_os_error(libc::EINVAL);
    let name = path.file_name().ok_or_else(none)?;
    let parent = path.parent().ok_or_else(none)?;
    Ok((open(root, parent, OFlags::DIRECTORY)?, name))
}

/// Opens what is at `path` below `root`, following nothing and waiting for nobody.
fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mode = if flags.contains(OFlags::CREATE) {
        Mode::RUSR | Mode::WUSR
    } else {
        Mode::empty()
    };
    Ok(openat2(root, path, flags, mode, RESOLVE)?)
}

fn node(
    root: BorrowedFd<'_>,
    path: &Path,
    bytes: &mut usize,
    with_content: bool,
) -> io::Result<Node> {
    let about = about(root, path)?;
    let mut node = Node::of(&about);
    match FileType::from_raw_mode(about.st_mode) {
        FileType::Symlink => {
            let (parent, name) = parent(root, path)?;
            let target = readlinkat(parent, name, Vec::new())?;
            node.content = Content::Link(target.into_bytes());
        }
        FileType::Directory => {
            let folder = open(root, path, OFlags::DIRECTORY)?;
            node.content = Content::Folder;
            node.attributes = attributes(folder.as_fd())?;
            node.flags = flags_of(folder.as_fd());
        }
        FileType::RegularFile => {
            let mut read = Vec::new();
            if with_content {
                let file = open(root, path, OFlags::RDONLY)?;
                node.attributes = attributes(file.as_fd())?;
                node.flags = flags_of(file.as_fd());
                let room = CONTENT_MAX_BYTES.saturating_sub(*bytes) as u64;
                File::from(file).take(room + 1).read_to_end(&mut read)?;
                *bytes += read.len();
                if *bytes > CONTENT_MAX_BYTES {
                    return Err(io::Error::from_raw_os_error(libc::EFBIG));
                }
            }
            node.content = Content::File(read);
        }
        _ => {}
    }
    Ok(node)
}

impl Node {
    fn of(about: &Stat) -> Self {
        let nanoseconds = i64::try_from(about.st_mtime_nsec).unwrap_or_default();
        Self {
            inode: about.st_ino,
            mode: about.st_mode & 0o7777,
            flags: 0,
            changed: (about.st_mtime, nanoseconds),
            attributes: BTreeMap::new(),
            content: Content::Other,
        }
    }
}

fn flags_of(file: BorrowedFd<'_>) -> u32 {
    ioctl_getflags(file).map_or(0, |flags| flags.bits())
}

fn attributes(file: BorrowedFd<'_>) -> io::Result<BTreeMap<CString, Vec<u8>>> {
    let mut found = BTreeMap::new();
    // Nearly no file has any, which costs no memory to find out.
    let len = match flistxattr_query(file) {
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    if len == 0 {
        return Ok(found);
    }
    let mut names = vec![0_u8; ATTRIBUTE_MAX_BYTES];
    let len = flistxattr(file, &mut names[..])?;
    for name in (names.get(..len).unwrap_or_default()).split(|byte| *byte == 0) {
        if name.is_empty() {
            continue;
        }
        let name = CString::new(name).map_err(io::Error::other)?;
        let mut value = vec![0_u8; ATTRIBUTE_MAX_BYTES];
        let len = fgetxattr(file, name.as_c_str(), &mut value[..])?;
        value.truncate(len);
        found.insert(name, value);
    }
    Ok(found)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    const OPENED: OFlags = OFlags::DIRECTORY.union(OFlags::CLOEXEC);

    /// Does one of the things that a program can do to files.
    fn disturb(at: &Path, what: u8, name: u8) {
        let one = at.join(format!("{}", name % 5));
        let other = at.join(format!("sub/{}", name % 3));
        // Many of them fail as there is no such file, or one already, which is as good.
        let _ = match what % 9 {
            0 => fs::write(&one, [name; 9]),
            1 => fs::remove_file(&one),
            2 => fs::create_dir_all(&other),
            3 => fs::rename(&one, &other),
            4 => std::os::unix::fs::symlink("/etc/passwd", &one),
            5 => fs::remove_dir_all(at.join("sub")),
            6 => fs::hard_link(&one, at.join("linked")),
            7 => fs::rename(at.join("sub"), at.join("moved")),
            _ => {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(&one, fs::Permissions::from_mode(0o711))
            }
        };
    }

    fn put_back(root: &OwnedFd, then: &mut Tree) {
        let now = read(root, |path| then.contains_key(path)).unwrap();
        for (path, step) in steps(then, &now) {
            act(root, then, &path, step).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_is_done_to_files_is_undone(
            before in prop::collection::vec((any::<u8>(), any::<u8>()), 0..12),
            after in prop::collection::vec((any::<u8>(), any::<u8>()), 0..12),
        ) {
            let folder = tempfile::tempdir_in("/dev/shm").unwrap();
            for (what, name) in before {
                disturb(folder.path(), what, name);
            }
            let root = rustix::fs::open(folder.path(), OPENED, Mode::empty()).unwrap();
            let mut then = read(&root, |_| true).unwrap();
            for (what, name) in &after {
                disturb(folder.path(), *what, *name);
            }
            put_back(&root, &mut then);
            let now = read(&root, |_| true).unwrap();
            prop_assert_eq!(&then, &now);
            prop_assert_eq!(steps(&then, &now), Vec::new());
        }
    }

    #[test]
    fn attributes_and_times_are_put_back_and_no_link_is_followed() {
        let folder = tempfile::tempdir_in("/dev/shm").unwrap();
        let outside = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::write(outside.path().join("file"), "outside").unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/file"), "inside").unwrap();
        let root = rustix::fs::open(folder.path(), OPENED, Mode::empty()).unwrap();
        let mut then = read(&root, |_| true).unwrap();
        fs::remove_dir_all(folder.path().join("sub")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join("sub")).unwrap();
        // Some kernels keep no attributes of users on files in memory.
        let _ = fsetxattr(&root, c"user.secret", b"x", XattrFlags::empty());
        put_back(&root, &mut then);
        let inside = fs::read_to_string(folder.path().join("sub/file")).unwrap();
        assert_eq!(inside, "inside");
        let outside = fs::read_to_string(outside.path().join("file")).unwrap();
        assert_eq!(outside, "outside");
        assert_eq!(read(&root, |_| true).unwrap(), then);
        assert!(open(&root, Path::new("../x"), OFlags::RDONLY).is_err());
    }
}

//! A program's entry in `/proc`, held open so that it is the same program's each time.
//!
//! Deliberately absent: what the texts mean to a renewal.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat, fstat, openat, readlinkat, statat};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

use crate::sys::handles;

/// Bytes of a text of `/proc` that are read; what is longer is an error.
const TEXT_MAX_BYTES: usize = 1 << 20;
/// Bytes that are read at once: enough for nearly all of them.
const READ_BYTES: usize = 4096;
/// Bytes of names that are listed at once.
const LIST_BYTES: usize = 8192;

/// One program, by descriptors that name it surely.
#[derive(Debug)]
pub(super) struct Proc {
    pid: Pid,
    /// This process, which is asked for with each comparison.
    own: Pid,
    pidfd: OwnedFd,
    folder: OwnedFd,
    descriptors: OwnedFd,
}

/// How its files are opened.
const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

impl Proc {
    /// Opens what is needed of it.
    pub(super) fn open(pid: Pid) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let path = format!("/proc/{}", pid.as_raw_nonzero());
        let folder = rustix::fs::open(path, FLAGS | OFlags::DIRECTORY, Mode::empty())?;
        let descriptors = openat(&folder, "fd", FLAGS | OFlags::DIRECTORY, Mode::empty())?;
        Ok(Self {
            pid,
            own: getpid(),
            pidfd,
            folder,
            descriptors,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// A file below its folder, to be read again and again.
    pub(super) fn file(&self, name: &str) -> io::Result<Text> {
        let file = openat(&self.folder, name, FLAGS, Mode::empty())?;
        Ok(Text(file.into()))
    }

    /// The text of a file below its folder.
    pub(super) fn text(&self, name: &str) -> io::Result<String> {
        let mut text = String::new();
        let file: File = openat(&self.folder, name, FLAGS, Mode::empty())?.into();
        let most = u64::try_from(TEXT_MAX_BYTES).map_err(io::Error::other)?;
        if file.take(most).read_to_string(&mut text)? == TEXT_MAX_BYTES {
            return Err(io::Error::from_raw_os_error(libc::EFBIG));
        }
        Ok(text)
    }

    /// What a link below its folder names.
    pub(super) fn link(&self, name: &str) -> io::Result<PathBuf> {
        let target = readlinkat(&self.folder, name, Vec::new())?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(
            target.into_bytes(),
        )))
    }

    /// What is behind a link below its folder.
    pub(super) fn behind(&self, name: &str) -> io::Result<Stat> {
        Ok(statat(&self.folder, name, AtFlags::empty())?)
    }

    /// A duplicate of one of its descriptors.
    pub(super) fn duplicate(&self, number: RawFd) -> io::Result<OwnedFd> {
        Ok(pidfd_getfd(&self.pidfd, number, PidfdGetfdFlags::empty())?)
    }

    /// Whether `number` is in it what our `file` is: one open file description.
    pub(super) fn has(&self, number: RawFd, file: &OwnedFd) -> io::Result<bool> {
        handles::same_file_as(self.own, self.pid, number, file)
    }

    /// Whether `number` is open in it, which is told by comparing it with any `file` of ours.
    pub(super) fn is_open(&self, number: RawFd, file: &OwnedFd) -> io::Result<bool> {
        match self.has(number, file) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// How many descriptors it has, as newer kernels tell; 0 by older ones.
    pub(super) fn descriptor_count(&self) -> io::Result<usize> {
        let about = fstat(&self.descriptors)?;
        usize::try_from(about.st_size).map_err(io::Error::other)
    }

    /// The numbers of its descriptors, in order.
    pub(super) fn descriptors(&self) -> io::Result<Vec<RawFd>> {
        numbers(self.descriptors.as_fd())
    }
}

/// The names in `folder` that are numbers, in order.
fn numbers(folder: BorrowedFd<'_>) -> io::Result<Vec<RawFd>> {
    rustix::fs::seek(folder, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(LIST_BYTES);
    let mut names = RawDir::new(folder, buffer.spare_capacity_mut());
    let mut found = Vec::new();
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        found.extend(name.and_then(|name| name.parse::<RawFd>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// A text of `/proc` that stays open.
#[derive(Debug)]
pub(super) struct Text(File);

impl From<File> for Text {
    fn from(file: File) -> Self {
        Self(file)
    }
}

impl Text {
    /// What it says now.
    pub(super) fn read(&self) -> io::Result<String> {
        let mut bytes = vec![0; READ_BYTES];
        let mut len = 0;
        loop {
            let at = u64::try_from(len).map_err(io::Error::other)?;
            let got = self.0.read_at(&mut bytes[len..], at)?;
            len += got;
            // To ask for what comes next makes the kernel write all of it again. It ends a piece
            // early only where the next line has no room in a page, and no line is that long.
            if got == 0 || len <= READ_BYTES / 2 {
                break;
            }
            if len > TEXT_MAX_BYTES {
                return Err(io::Error::from_raw_os_error(libc::EFBIG));
            }
            if len == bytes.len() {
                bytes.resize(len * 2, 0);
            }
        }
        bytes.truncate(len);
        String::from_utf8(bytes).map_err(io::Error::other)
    }
}

/// The value of the line `name:` in a text of such lines.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(':')?;
        Some(rest.trim())
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_in_whole() {
        let text = "SigPnd:\t0000\nSigPndX:\t1\nUmask:\t0022\n";
        assert_eq!(field(text, "Umask"), Some("0022"));
        assert_eq!(field(text, "SigPn"), None);
    }

    #[test]
    fn own_descriptors_are_listed_and_counted() {
        let own = Proc::open(rustix::process::getpid()).unwrap();
        let file = tempfile::tempfile().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert!(own.descriptors().unwrap().contains(&number));
        let twin = own.duplicate(number).unwrap();
        assert!(own.has(number, &twin).unwrap());
        let other = tempfile::tempfile().unwrap().into();
        assert!(!own.has(number, &other).unwrap());
        assert!(own.is_open(number, &twin).unwrap());
        assert!(!own.is_open(RawFd::MAX, &twin).unwrap());
        drop(file);
        assert!(!own.descriptors().unwrap().contains(&number));
    }
}

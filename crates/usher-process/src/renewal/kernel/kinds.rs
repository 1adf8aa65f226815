//! What a descriptor of the program is, and what the kernel keeps behind it.
//!
//! The open file descriptions are shared with our own duplicates, so that nearly all of it is put
//! back from outside. Deliberately absent: the numbers of descriptors and their flags
//! (`descriptors`).

use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags, SealFlags, SeekFrom, StatVfsMountFlags, fstat, fstatvfs};
use rustix::io::retry_on_intr;
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, tee,
};
use rustix::time::{
    Itimerspec, TimerfdTimerFlags, Timespec as Time, timerfd_gettime, timerfd_settime,
};

use crate::sys::handles;

use super::epoll::{self, Entry};
use super::errors::{About as _, Leftover, TakeError};
use super::proc::{Proc, Text, field};
use super::sockets::Socket;

/// Reads that empty a pipe or a counter in one renewal.
const READS_MAX: usize = 4096;
/// Bytes that are read at once.
const READ_BYTES: usize = 16 << 10;
/// Bytes that may be in a pipe at the snapshot.
const CONTENT_MAX_BYTES: usize = 4 << 10;

/// A kind of descriptor that can be put back, with what it held at the snapshot.
#[derive(Debug)]
pub(super) enum Kind {
    /// One of the platform's own in the program, or one that was opened to name a path only.
    Fixed,
    /// A device without state, such as `/dev/null`.
    Device,
    /// A file or a folder.
    File {
        /// Where it is read next, in bytes.
        offset: u64,
        /// Locks that were held on it, as `/proc` tells them: they must stay.
        locks: Vec<String>,
    },
    /// One end of a pipe.
    Pipe {
        /// Bytes that it has room for.
        size: usize,
        /// What was in it, at the end that reads: some are locks that hold a byte.
        content: Vec<u8>,
    },
    /// A counter.
    Event {
        /// What it counted.
        count: u64,
        /// Where `/proc` tells of it.
        told: Text,
    },
    /// A timer.
    Timer {
        /// When it ends, from the snapshot on, and its period; zeros if it is not armed.
        value: Itimerspec,
    },
    /// A reader of signals.
    Signals {
        /// Which ones.
        mask: u64,
    },
    /// An epoll set.
    Epoll {
        /// What is in it.
        entries: Vec<Entry>,
        /// Where `/proc` tells of it.
        told: Text,
    },
    /// A socket.
    Socket(Box<Socket>),
}

/// What decides whether a file can be put back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    /// Its mount is read-only, so that nobody in the sandbox can write to it.
    read_only: bool,
    /// It is in one of the folders for scratch, and has a name there.
    in_scratch: bool,
    /// It is sealed against all writing.
    sealed: bool,
}

impl Place {
    fn why_not(self) -> Option<&'static str> {
        if self.read_only || self.in_scratch || self.sealed {
            None
        } else {
            Some("is a file that can be written to and has no name in scratch")
        }
    }
}

impl Kind {
    /// What is behind `number`, whose duplicate is `file` and of which `/proc` says `told`.
    pub(super) fn take(
        proc: &Proc,
        number: RawFd,
        file: &OwnedFd,
        told: &str,
        scratch: &[u64],
    ) -> Result<Self, TakeError> {
        let what = "a descriptor";
        let refuse = |what: String| TakeError::Descriptor { number, what };
        let link = proc.link(&format!("fd/{number}")).taking(what)?;
        let link = link.to_string_lossy();
        if let Some(kind) = link.strip_prefix("anon_inode:") {
            let kind = kind.trim_matches(['[', ']']);
            return Self::take_nameless(proc, number, file, told, kind);
        }
        let flags = rustix::fs::fcntl_getfl(file).taking(what)?;
        if flags.contains(OFlags::PATH) {
            return Ok(Self::Fixed);
        }
        let about = fstat(file).taking(what)?;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Socket => Ok(Self::Socket(Box::new(Socket::take(number, file)?))),
            FileType::Fifo => {
                let content = content(file).taking(what)?;
                // What is in a pipe that is only written to is somebody else's to read.
                let unread = unread(file).taking(what)?;
                let all = content.len() == unread && unread <= CONTENT_MAX_BYTES;
                if !content.is_empty() && !all {
                    return Err(refuse("is a pipe with much unread in it".to_owned()));
                }
                let size = fcntl_getpipe_size(file).taking(what)?;
                Ok(Self::Pipe { size, content })
            }
            FileType::CharacterDevice if is_stateless(about.st_rdev) => Ok(Self::Device),
            FileType::RegularFile | FileType::Directory => {
                let mount = fstatvfs(file).taking(what)?.f_flag;
                let seals = rustix::fs::fcntl_get_seals(file);
                let all = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
                let place = Place {
                    read_only: mount.contains(StatVfsMountFlags::RDONLY),
                    in_scratch: about.st_nlink > 0 && scratch.contains(&about.st_dev),
                    sealed: seals.is_ok_and(|seals| seals.contains(all)),
                };
                if let Some(why) = place.why_not() {
                    return Err(refuse(format!("({link}) {why}")));
                }
                Ok(Self::File {
                    offset: rustix::fs::tell(file).taking(what)?,
                    locks: locks(told),
                })
            }
            _ => Err(refuse(format!("({link}) is of an unknown kind"))),
        }
    }

    /// The same for a file that has no name anywhere, but is of a `kind` of the kernel.
    fn take_nameless(
        proc: &Proc,
        number: RawFd,
        file: &OwnedFd,
        told: &str,
        kind: &str,
    ) -> Result<Self, TakeError> {
        let what = "a descriptor";
        let refuse = |what: String| TakeError::Descriptor { number, what };
        let unclear = || refuse("is told of in an unknown way".to_owned());
        match kind {
            "eventpoll" => Ok(Self::Epoll {
                entries: epoll::entries(told).ok_or_else(unclear)?,
                told: proc.file(&info(number)).taking(what)?,
            }),
            "eventfd" => Ok(Self::Event {
                count: count(told).ok_or_else(unclear)?,
                told: proc.file(&info(number)).taking(what)?,
            }),
            "timerfd" if field(told, "ticks").is_some_and(|ticks| ticks != "0") => {
                Err(refuse("is a timer that has run out".to_owned()))
            }
            "timerfd" => Ok(Self::Timer {
                value: timerfd_gettime(file).taking(what)?,
            }),
            "signalfd" => {
                let mask = field(told, "sigmask");
                let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok());
                Ok(Self::Signals {
                    mask: mask.ok_or_else(unclear)?,
                })
            }
            other => Err(refuse(format!("is of the kind `{other}`"))),
        }
    }

    /// Puts back what is behind the duplicate `file` of `number`; `ready` is how it polls. Returns
    /// whether what is in it was another.
    pub(super) fn plan(
        &self,
        proc: &Proc,
        number: RawFd,
        file: &OwnedFd,
        ready: PollFlags,
    ) -> Result<bool, Leftover> {
        let what = "a descriptor";
        let left = |what| Leftover::Descriptor { number, what };
        let mut moved = false;
        match self {
            Self::Fixed | Self::Device | Self::Epoll { .. } => {}
            Self::File {
                offset,
                locks: then,
            } => {
                rustix::fs::seek(file, SeekFrom::Start(*offset)).putting(what)?;
                if !then.is_empty() && locks(&proc.text(&info(number)).putting(what)?) != *then {
                    return Err(left("is a file with other locks"));
                }
            }
            Self::Pipe {
                size,
                content: then,
            } => {
                let readable = ready.contains(PollFlags::IN);
                let same = readable != then.is_empty()
                    && (!readable
                        || (content(file).putting("a pipe")? == *then
                            && unread(file).putting("a pipe")? == then.len()));
                moved = !same;
                if moved {
                    if !empty(file).putting("a pipe")? {
                        return Err(left("is a pipe with more than can be taken out of it"));
                    }
                    fill(file, then).putting("a pipe")?;
                }
                if fcntl_getpipe_size(file).putting(what)? != *size {
                    fcntl_setpipe_size(file, *size).putting("the size of a pipe")?;
                }
            }
            Self::Event { count: then, told } => {
                let untouched = if *then == 0 {
                    !ready.contains(PollFlags::IN)
                } else {
                    count(&told.read().putting(what)?) == Some(*then)
                };
                moved = !untouched;
                if moved {
                    if !empty(file).putting("a counter")? {
                        return Err(left("is a counter that counts too far"));
                    }
                    if *then != 0 {
                        rustix::io::write(file, &then.to_ne_bytes()).putting("a counter")?;
                    }
                }
            }
            Self::Timer { value } => {
                let now = timerfd_gettime(file).putting("a timer")?;
                if is_armed(&now) || is_armed(value) || ready.contains(PollFlags::IN) {
                    let flags = TimerfdTimerFlags::empty();
                    timerfd_settime(file, flags, value).putting("a timer")?;
                }
            }
            Self::Signals { mask } => handles::set_signals(file, *mask).putting(what)?,
            Self::Socket(socket) => socket.plan(number, file, ready)?,
        }
        Ok(moved)
    }

    /// Whether it polls as it does at rest.
    pub(super) fn rests(&self, ready: PollFlags) -> bool {
        match self {
            Self::Socket(socket) => socket.rests(ready),
            Self::Event { count, .. } => ready.contains(PollFlags::IN) == (*count != 0),
            Self::Pipe { content, .. } => ready.contains(PollFlags::IN) != content.is_empty(),
            _ => !ready.contains(PollFlags::IN),
        }
    }

    /// How it differs now in what `/proc` does not tell, for an audit.
    pub(super) fn difference(&self, file: &OwnedFd) -> std::io::Result<Option<String>> {
        Ok(match self {
            Self::Pipe {
                size,
                content: then,
            } => {
                let unread = content(file)?;
                let now = fcntl_getpipe_size(file)?;
                let differs = unread != *then || now != *size;
                differs.then(|| format!("is a pipe of {now} bytes with {unread:?} in it"))
            }
            Self::Socket(socket) => socket.difference(file)?,
            _ => None,
        })
    }

    /// Whether it is a connection, whose number is given back if a run closes it.
    pub(super) fn is_connection(&self) -> bool {
        matches!(self, Self::Socket(socket) if socket.is_connection())
    }

    /// Whether what waits in it is looked for.
    pub(super) fn is_polled(&self) -> bool {
        matches!(
            self,
            Self::Pipe { .. } | Self::Event { .. } | Self::Timer { .. } | Self::Socket(_)
        )
    }

    /// Whether it held no lock at the snapshot, so that all of them are taken off.
    pub(super) fn is_unlocked(&self) -> bool {
        !matches!(self, Self::File { locks, .. } if !locks.is_empty())
    }

    /// Lines of what `/proc` tells of it that move by themselves.
    pub(super) fn is_moving(&self, line: &str) -> bool {
        match self {
            Self::Device => line.starts_with("pos:"),
            Self::Timer { value } => is_armed(value) && line.starts_with("it_value:"),
            _ => false,
        }
    }
}

/// The file of `/proc` that tells of a descriptor.
pub(super) fn info(number: RawFd) -> String {
    format!("fdinfo/{number}")
}

fn count(told: &str) -> Option<u64> {
    u64::from_str_radix(field(told, "eventfd-count")?, 16).ok()
}

fn locks(told: &str) -> Vec<String> {
    let lines = told.lines().filter(|line| line.starts_with("lock:"));
    lines.map(str::to_owned).collect()
}

fn is_armed(value: &Itimerspec) -> bool {
    let zero = Time {
        tv_sec: 0,
        tv_nsec: 0,
    };
    value.it_value != zero
}

/// `null`, `zero`, `full`, `random` and `urandom`.
fn is_stateless(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    major == 1 && matches!(minor, 3 | 5 | 7 | 8 | 9)
}

fn is_readable(file: &OwnedFd) -> std::io::Result<bool> {
    let mut asked = [PollFd::new(file, PollFlags::IN)];
    retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))?;
    Ok(asked[0].revents().contains(PollFlags::IN))
}

/// What is in a pipe that can be read, without taking it; nothing of one that is written to.
fn content(file: &OwnedFd) -> std::io::Result<Vec<u8>> {
    if !is_readable(file)? {
        return Ok(Vec::new());
    }
    let (from, to) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let copied = tee(file, &to, READ_BYTES, SpliceFlags::NONBLOCK)?;
    let mut bytes = vec![0; READ_BYTES];
    let read = rustix::io::read(&from, &mut bytes)?;
    bytes.truncate(read.min(copied));
    Ok(bytes)
}

/// Bytes in a pipe, however many.
fn unread(file: &OwnedFd) -> std::io::Result<usize> {
    usize::try_from(rustix::io::ioctl_fionread(file)?).map_err(std::io::Error::other)
}

/// Writes into a pipe whose reading end is at hand.
pub(super) fn fill(file: &OwnedFd, content: &[u8]) -> std::io::Result<()> {
    if content.is_empty() {
        return Ok(());
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let to = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
    let written = rustix::io::write(to, content)?;
    if written == content.len() {
        Ok(())
    } else {
        Err(std::io::ErrorKind::WriteZero.into())
    }
}

/// Reads until nothing is left; false if there is more than can be.
fn empty(file: &OwnedFd) -> std::io::Result<bool> {
    let mut bytes = vec![0; READ_BYTES];
    for _ in 0..READS_MAX {
        // The program may have set it to wait, so it is asked each time.
        if !is_readable(file)? {
            return Ok(true);
        }
        rustix::io::read(file, &mut bytes)?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_back_where_nobody_writes_it_or_scratch_is() {
        let nowhere = Place {
            read_only: false,
            in_scratch: false,
            sealed: false,
        };
        assert!(nowhere.why_not().is_some());
        for place in [
            Place {
                read_only: true,
                ..nowhere
            },
            Place {
                in_scratch: true,
                ..nowhere
            },
            Place {
                sealed: true,
                ..nowhere
            },
        ] {
            assert_eq!(place.why_not(), None);
        }
    }

    #[test]
    fn counters_and_locks_are_read_as_the_kernel_writes_them() {
        let told = "pos:\t0\neventfd-count:               1f\neventfd-id: 3\n";
        assert_eq!(count(told), Some(31));
        assert_eq!(count("pos:\t0\n"), None);
        let told = "pos:\t0\nlock:\t1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF\n";
        assert_eq!(locks(told).len(), 1);
        assert!(is_stateless(rustix::fs::makedev(1, 3)));
        assert!(!is_stateless(rustix::fs::makedev(1, 1)));
    }
}

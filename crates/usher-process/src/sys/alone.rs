//! Forking, by processes that are single-threaded and have shown it.
//!
//! A child of a single thread finds no lock held and no allocator half changed, so ordinary Rust
//! may run in it. Deliberately absent: what the child does.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use rustix::process::Pid;

use super::answered;

/// Shown once, and true from then on as long as nobody starts a thread: this process has one
/// thread.
#[derive(Debug)]
pub(crate) struct Alone(());

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    /// The process that forked, with the child's id and a descriptor that names it surely.
    Parent {
        /// The child's id.
        pid: Pid,
        /// The child's descriptor, closed on exec.
        pidfd: OwnedFd,
    },
    /// The new process.
    Child,
}

impl Alone {
    /// Asks the kernel how many threads this process has.
    pub(crate) fn prove() -> io::Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task")?.count();
        if threads == 1 {
            Ok(Self(()))
        } else {
            Err(io::Error::other(format!(
                "a process with {threads} threads must not fork"
            )))
        }
    }

    /// Gives this process namespaces of its own, one for each `CLONE_NEW…` flag.
    pub(crate) fn unshare(&self, namespaces: libc::c_int) -> io::Result<()> {
        // The safe wrapper is deprecated, as it takes flags that part threads.
        // SAFETY: the call takes a number only, and there is no other thread to be parted from.
        answered(unsafe { libc::unshare(namespaces) }.into())?;
        Ok(())
    }

    /// Forks; the child starts in new namespaces, one for each `CLONE_NEW…` flag.
    pub(crate) fn fork(&self, namespaces: libc::c_int) -> io::Result<Forked> {
        let mut pidfd: RawFd = -1;
        let flags = i64::from(namespaces | libc::CLONE_PIDFD | libc::SIGCHLD);
        let place: *mut RawFd = &raw mut pidfd;
        // No crate forks into namespaces; `clone` is taken and not `clone3`, which containers deny.
        // SAFETY: without a stack of its own and without CLONE_VM the child is a copy, as after
        // `fork`. The process is single-threaded, so the copy is consistent. `place` outlives the
        // call.
        let pid = answered(unsafe {
            libc::syscall(libc::SYS_clone, flags, 0_usize, place, 0_usize, 0_usize)
        })?;
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        match Pid::from_raw(pid) {
            None => Ok(Forked::Child),
            Some(pid) => {
                // SAFETY: the kernel has just put a new descriptor there, which nobody else knows.
                let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
                Ok(Forked::Parent { pid, pidfd })
            }
        }
    }
}

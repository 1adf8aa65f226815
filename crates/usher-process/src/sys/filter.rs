//! System call filters: loading them, and answering the calls that they hand to a supervisor.
//!
//! Deliberately absent: which calls are denied.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use seccompiler::sock_filter;

use super::answered;

/// One denied call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// The kernel's number for it.
    pub(crate) id: u64,
    /// The task that called, as this process sees it.
    pub(crate) pid: u32,
    /// The number of the call.
    pub(crate) call: i32,
    /// What it was given.
    pub(crate) arguments: [u64; 6],
}

/// Loads `program` for this thread and all that it becomes. With `listen` the descriptor is
/// returned on which calls arrive that end in `SECCOMP_RET_USER_NOTIF`.
///
/// # Errors
///
/// Those of the kernel; `EINVAL` where it knows no such listener.
pub(crate) fn load(program: &[sock_filter], listen: bool) -> io::Result<Option<OwnedFd>> {
    let fprog = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let flags = if listen {
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
    } else {
        0
    };
    let pointer: *const libc::sock_fprog = &raw const fprog;
    // `seccompiler` loads no filter that has a listener.
    // SAFETY: `fprog` names `len` instructions of the kernel's layout, which it only reads, and
    // both live until the call returns.
    let descriptor = answered(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            pointer,
        )
    })?;
    if !listen {
        return Ok(None);
    }
    let descriptor = i32::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}

/// Takes the next denied call; waits for it if the descriptor does.
pub(crate) fn next(listener: impl AsFd) -> io::Result<Asked> {
    // SAFETY: the structure is made of integers, for all of which zero is a value.
    let mut asked: libc::seccomp_notif = unsafe { mem::zeroed() };
    let pointer: *mut libc::seccomp_notif = &raw mut asked;
    let descriptor = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel fills in a structure of this very layout, zeroed as it demands.
    let done = unsafe { libc::ioctl(descriptor, libc::SECCOMP_IOCTL_NOTIF_RECV, pointer) };
    answered(done.into())?;
    Ok(Asked {
        id: asked.id,
        pid: asked.pid,
        call: asked.data.nr,
        arguments: asked.data.args,
    })
}

/// Lets the call fail with `errno`. A caller that died in the meantime is no error.
pub(crate) fn refuse(listener: impl AsFd, asked: Asked, errno: i32) -> io::Result<()> {
    answer(listener, asked, -errno, 0)
}

/// Lets the call succeed without being made. A caller that died in the meantime is no error.
pub(crate) fn made(listener: impl AsFd, asked: Asked) -> io::Result<()> {
    answer(listener, asked, 0, 0)
}

/// Lets the kernel make the call. A caller that died in the meantime is no error.
pub(crate) fn permit(listener: impl AsFd, asked: Asked) -> io::Result<()> {
    let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).map_err(io::Error::other)?;
    answer(listener, asked, 0, flags)
}

/// Whether the call still waits for its answer.
pub(crate) fn is_waiting(listener: impl AsFd, asked: Asked) -> bool {
    let mut id = asked.id;
    let pointer: *mut u64 = &raw mut id;
    let descriptor = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel reads one number, which lives until it returns.
    let done = unsafe { libc::ioctl(descriptor, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, pointer) };
    done == 0
}

fn answer(listener: impl AsFd, asked: Asked, error: i32, flags: u32) -> io::Result<()> {
    let mut answer = libc::seccomp_notif_resp {
        id: asked.id,
        val: 0,
        error,
        flags,
    };
    let pointer: *mut libc::seccomp_notif_resp = &raw mut answer;
    let descriptor = listener.as_fd().as_raw_fd();
    // SAFETY: the kernel reads a structure of this very layout, which lives until it returns.
    let done = unsafe { libc::ioctl(descriptor, libc::SECCOMP_IOCTL_NOTIF_SEND, pointer) };
    match answered(done.into()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other.map(|_| ()),
    }
}

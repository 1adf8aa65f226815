//! Signals: deaths of children as a descriptor, and a clean slate for a program.

use std::io;
use std::mem;
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd};
use std::ptr;

use super::answered;

/// Signal numbers end below this.
const SIGNALS_END: i32 = 65;
/// Bytes of the kernel's set of signals.
const MASK_BYTES: usize = 8;

/// Holds `SIGCHLD` back and gives the descriptor that is readable when one is due.
pub(crate) fn deaths() -> io::Result<OwnedFd> {
    // SAFETY: the set is made of integers, for all of which zero is a value.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    let place: *mut libc::sigset_t = &raw mut set;
    // SAFETY: `set` is valid, and the number is that of a signal.
    answered(unsafe { libc::sigaddset(place, libc::SIGCHLD) }.into())?;
    // SAFETY: `set` is valid; no former mask is asked for.
    answered(unsafe { libc::sigprocmask(libc::SIG_BLOCK, place, ptr::null_mut()) }.into())?;
    // No crate in use makes such a descriptor.
    // SAFETY: `set` is valid, and -1 asks for a new descriptor.
    let made = unsafe { libc::signalfd(-1, place, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    answered(made.into())?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// Forgets the deaths that were noted so far.
pub(crate) fn drain(deaths: impl AsFd) -> io::Result<()> {
    let mut bytes = [0; mem::size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(deaths, &mut bytes) {
        Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

/// Every signal as the kernel treats it at first, and none held back.
pub(crate) fn reset() -> io::Result<()> {
    // Handler, flags, restorer and mask, all zero: the default.
    let default = [0_u64; 4];
    let action: *const [u64; 4] = &raw const default;
    for signal in 1..SIGNALS_END {
        // The C library keeps two signals for itself, so it is not asked. What cannot be set
        // (SIGKILL, SIGSTOP) is at its default. SAFETY: the kernel reads an action of this size,
        // which lives until it returns; the default runs no code of ours.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                action,
                ptr::null::<libc::c_void>(),
                MASK_BYTES,
            )
        };
    }
    // SAFETY: the set is made of integers, for all of which zero is a value, that of no signal.
    let set: libc::sigset_t = unsafe { mem::zeroed() };
    let place: *const libc::sigset_t = &raw const set;
    // SAFETY: `set` is valid; no former mask is asked for.
    answered(unsafe { libc::sigprocmask(libc::SIG_SETMASK, place, ptr::null_mut()) }.into())?;
    Ok(())
}

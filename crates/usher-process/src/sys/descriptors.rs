//! Descriptors that must not reach a program, and one that must.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use super::answered;

/// Marks all descriptors from `first` on to be closed when a program is executed.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    // No crate wraps the range call with this flag.
    // SAFETY: the call takes numbers only, and closes nothing that this process still uses.
    answered(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })?;
    Ok(())
}

/// Puts `given` at `number`, where the program that is executed next finds it. What else this
/// process has at that number is closed: to be called by a process that uses nothing any more but
/// what it has moved to higher numbers.
pub(crate) fn give(given: OwnedFd, number: RawFd) -> io::Result<()> {
    // The new descriptor would be the old one if it had the number already, and closed on exec.
    let given = rustix::io::fcntl_dupfd_cloexec(given, number + 1)?;
    // The safe wrapper asks for the owner of what is at the number, whom nobody knows here.
    // SAFETY: the call takes numbers only; whatever is closed by it is not used any more.
    answered(unsafe { libc::dup2(given.as_raw_fd(), number) }.into())?;
    Ok(())
}

//! Descriptors that must not reach a program.

use std::io;

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

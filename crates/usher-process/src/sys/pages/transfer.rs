//! Bytes from this process's memory to another's, many pieces in one call.
//!
//! Deliberately absent: writing what the other process may not write itself.

use std::io;
use std::ptr;

use rustix::process::Pid;

/// Pieces that the kernel takes in one call.
const PIECES_PER_CALL: usize = 1_024;

/// Writes each piece to its address in the process; all of them, or an error.
pub(crate) fn write_pieces(pid: Pid, pieces: &[(&[u8], u64)]) -> io::Result<()> {
    pieces
        .chunks(PIECES_PER_CALL)
        .try_for_each(|pieces| write(pid, pieces))
}

fn write(pid: Pid, pieces: &[(&[u8], u64)]) -> io::Result<()> {
    let ours = pieces.iter().map(|(bytes, _)| libc::iovec {
        // The kernel only reads there.
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    });
    let ours: Vec<_> = ours.collect();
    let theirs = pieces.iter().map(|(bytes, at)| {
        let at = usize::try_from(*at).map_err(io::Error::other)?;
        Ok(libc::iovec {
            iov_base: ptr::without_provenance_mut(at),
            iov_len: bytes.len(),
        })
    });
    let theirs: Vec<_> = theirs.collect::<io::Result<_>>()?;
    let count = ours.len() as libc::c_ulong;
    let pid = pid.as_raw_nonzero().get();
    // No crate in use wraps this call.
    // SAFETY: both lists have `count` entries and live until the call returns. Those of `ours` are
    // slices that are borrowed for as long, and only read; those of `theirs` are addresses of
    // another process, which the kernel checks.
    let done =
        unsafe { libc::process_vm_writev(pid, ours.as_ptr(), count, theirs.as_ptr(), count, 0) };
    let done = usize::try_from(done).map_err(|_| io::Error::last_os_error())?;
    let wanted: usize = pieces.iter().map(|(bytes, _)| bytes.len()).sum();
    if done == wanted {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{done} of {wanted} bytes were written to the program"
        )))
    }
}

//! Bytes between this process's memory and another's, many pieces in one call.
//!
//! Deliberately absent: writing what the other process may not write itself.

use std::io;

use rustix::process::Pid;

/// Pieces that the kernel takes in one call.
const PIECES_PER_CALL: usize = 1_024;

/// Which way bytes go.
type Transfer = unsafe extern "C" fn(
    libc::pid_t,
    *const libc::iovec,
    libc::c_ulong,
    *const libc::iovec,
    libc::c_ulong,
    libc::c_ulong,
) -> isize;

/// Writes each piece to its address in the process; all of them, or an error.
pub(crate) fn write_pieces(pid: Pid, pieces: &[(&[u8], u64)]) -> io::Result<()> {
    for pieces in pieces.chunks(PIECES_PER_CALL) {
        let ours = pieces.iter().map(|(bytes, _)| libc::iovec {
            // The kernel only reads there.
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        });
        let theirs = pieces.iter().map(|(bytes, at)| (*at, bytes.len()));
        transfer(libc::process_vm_writev, pid, ours.collect(), theirs)?;
    }
    Ok(())
}

/// Reads each piece from its address in the process; all of them, or an error.
pub(crate) fn read_pieces(pid: Pid, pieces: &mut [(&mut [u8], u64)]) -> io::Result<()> {
    for pieces in pieces.chunks_mut(PIECES_PER_CALL) {
        let lens: Vec<_> = pieces
            .iter()
            .map(|(bytes, at)| (*at, bytes.len()))
            .collect();
        let ours = pieces.iter_mut().map(|(bytes, _)| libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        });
        transfer(
            libc::process_vm_readv,
            pid,
            ours.collect(),
            lens.into_iter(),
        )?;
    }
    Ok(())
}

fn transfer(
    call: Transfer,
    pid: Pid,
    ours: Vec<libc::iovec>,
    theirs: impl Iterator<Item = (u64, usize)>,
) -> io::Result<()> {
    let theirs: Vec<_> = theirs
        .map(|(at, len)| {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            Ok(libc::iovec {
                iov_base: std::ptr::without_provenance_mut(at),
                iov_len: len,
            })
        })
        .collect::<io::Result<_>>()?;
    let count = ours.len() as libc::c_ulong;
    let pid = pid.as_raw_nonzero().get();
    // No crate in use wraps these calls.
    // SAFETY: both lists have `count` entries and live until the call returns. Those of `ours` are
    // slices that the callers borrow for as long, for writing if the call writes there; those of
    // `theirs` are addresses of another process, which the kernel checks.
    let done = unsafe { call(pid, ours.as_ptr(), count, theirs.as_ptr(), count, 0) };
    let done = usize::try_from(done).map_err(|_| io::Error::last_os_error())?;
    let wanted: usize = ours.iter().map(|piece| piece.iov_len).sum();
    if done == wanted {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{done} of {wanted} bytes were copied from or to the program"
        )))
    }
}

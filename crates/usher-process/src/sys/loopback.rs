//! The loopback device of a new network namespace.

use std::io;
use std::mem;
use std::os::fd::AsRawFd as _;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::answered;

/// Switches `lo` on, in the network namespace of this process.
pub(crate) fn switch_on() -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: the structure is made of integers and a union of such, for all of which zero is a
    // value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *place = byte.cast_signed();
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).map_err(io::Error::other)?;
    let pointer: *const libc::ifreq = &raw const request;
    // A netlink request would do the same in many more lines.
    // SAFETY: the kernel reads a structure of this very layout, which lives until it returns.
    answered(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, pointer) }.into())?;
    Ok(())
}

//! Attributes of mounts, all below one at once.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _};

use super::answered;

/// Sets `attributes` (`MOUNT_ATTR_…`) on the mount that `tree` names, and on all below it if
/// `below`.
pub(crate) fn set_attributes(tree: impl AsFd, attributes: u64, below: bool) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if below { libc::AT_RECURSIVE } else { 0 };
    let pointer: *const libc::mount_attr = &raw const attr;
    // No crate wraps this call.
    // SAFETY: the path is an empty text, and the kernel reads as many bytes at `pointer` as it is
    // told that there are.
    answered(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            pointer,
            mem::size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

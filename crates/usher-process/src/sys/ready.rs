//! Descriptors that tasks wait for.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor whose readiness tasks can wait for; to be called where tasks run.
pub(crate) fn awaited(descriptor: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // tokio takes what might close its descriptor early, and leaves that to the caller.
    // SAFETY: an `OwnedFd` names one open descriptor until it is dropped, and `AsyncFd` owns it.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
    Ok(registered?)
}

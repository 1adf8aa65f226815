//! The one module of this crate that holds unsafe code: the system calls that no crate wraps
//! safely.
//!
//! Everything here has a safe face, and one call of the kernel behind each. Deliberately absent:
//! decisions. What is forked, mounted, filtered and run is decided by [`crate::sandbox`].

#![allow(unsafe_code)]

pub(crate) mod alone;
pub(crate) mod descriptors;
pub(crate) mod exec;
pub(crate) mod filter;
pub(crate) mod handles;
pub(crate) mod image;
pub(crate) mod loopback;
pub(crate) mod mount;
pub(crate) mod pages;
pub(crate) mod ready;
pub(crate) mod signals;
pub(crate) mod trace;

use std::io;

/// The answer of a raw system call: its value, or the error that the thread was left with.
fn answered(value: libc::c_long) -> io::Result<libc::c_long> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

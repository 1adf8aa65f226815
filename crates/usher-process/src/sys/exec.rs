//! Becoming another program.

use std::ffi::{CStr, CString};
use std::io;
use std::ptr;

/// Executes `path` with these arguments and this whole environment; returns only if that failed.
pub(crate) fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // The standard library searches and falls back to a shell, which would hide the failure.
    // SAFETY: all three are null-terminated and live until the call returns, if it does.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

fn pointers(texts: &[CString]) -> Vec<*const libc::c_char> {
    let end = std::iter::once(ptr::null());
    texts.iter().map(|text| text.as_ptr()).chain(end).collect()
}

//! Tracing the threads of another process, one request of the kernel at a time.

/// A thread, by the number that this process sees.
pub(crate) type Tid = rustix::process::Pid;

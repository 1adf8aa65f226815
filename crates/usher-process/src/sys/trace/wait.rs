//! What has become of a traced thread.
//!
//! It is asked of each thread by itself: a wait for any thread would also take the death of a child
//! that somebody else waits for. And it is waited for a moment only: a wait for the main thread
//! does not end while other threads of a killed program are not asked for.

use std::io;

use super::{Tid, alarm, answered};

/// `PTRACE_EVENT_STOP`
const EVENT_STOP: i32 = 128;

/// What has become of a traced thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Status {
    /// It stopped since it was asked to.
    Interrupted,
    /// It stopped with its whole process, by this signal of job control.
    Job(i32),
    /// It stopped before it takes this signal.
    Signal(i32),
    /// It stopped at another event, which nobody has asked for.
    Event(i32),
    /// There is no such thread any more, or it is not traced.
    Ended,
}

impl Status {
    fn new(raw: i32) -> Self {
        if !libc::WIFSTOPPED(raw) {
            return Self::Ended;
        }
        // The signal of a stop is a trap for an interruption as well as for a breakpoint; only the
        // event says which.
        match (raw >> 16, libc::WSTOPSIG(raw)) {
            (0, signal) => Self::Signal(signal),
            (EVENT_STOP, libc::SIGTRAP) => Self::Interrupted,
            (EVENT_STOP, signal) => Self::Job(signal),
            (event, _) => Self::Event(event),
        }
    }
}

/// Asks what has become of a thread that this OS thread traces; `None`: it runs. What is told once
/// is not told again.
pub(crate) fn poll(thread: Tid) -> io::Result<Option<Status>> {
    asked(thread, libc::WNOHANG)
}

/// The same, but waits up to 50 ms for it; `None`: it still runs.
pub(crate) fn wait(thread: Tid) -> io::Result<Option<Status>> {
    match alarm::bounded(|| asked(thread, 0))? {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        other => other,
    }
}

fn asked(thread: Tid, how: i32) -> io::Result<Option<Status>> {
    let mut raw = 0;
    let place: *mut i32 = &raw mut raw;
    let options = libc::__WALL | libc::__WNOTHREAD | how;
    let number = thread.as_raw_nonzero().get();
    // No crate in use waits for threads.
    // SAFETY: the kernel writes one number to a place that is one.
    let done = answered(unsafe { libc::waitpid(number, place, options) }.into());
    match done {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(Status::new(raw))),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Some(Status::Ended)),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_why_a_thread_stopped() {
        let stopped = |signal: i32, event: i32| (event << 16) | (signal << 8) | 0x7f;
        let cases = [
            (stopped(libc::SIGTRAP, EVENT_STOP), Status::Interrupted),
            (
                stopped(libc::SIGSTOP, EVENT_STOP),
                Status::Job(libc::SIGSTOP),
            ),
            (stopped(libc::SIGTRAP, 0), Status::Signal(libc::SIGTRAP)),
            (stopped(libc::SIGALRM, 0), Status::Signal(libc::SIGALRM)),
            (stopped(libc::SIGTRAP, 4), Status::Event(4)),
            (libc::SIGKILL, Status::Ended),
            (3 << 8, Status::Ended),
        ];
        for (raw, status) in cases {
            assert_eq!(Status::new(raw), status, "{raw:#x}");
        }
    }
}

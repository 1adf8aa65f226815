//! Waiting for a thread to stop, with an end to it.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Tid;
use super::errors::TraceError;
use crate::sys::trace::{self, Status};

/// For this long a waiting tracer gives way to other threads and looks again at once: most stops of
/// an idle machine take less, and to be woken takes longer. On a busy one it must not: tracers that
/// look would take the processors from those that are to stop.
const EAGER_MAX: Duration = Duration::from_micros(20);

/// How long to wait for threads, all in all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    began: Instant,
    max_ms: u64,
}

impl Patience {
    /// Begins now.
    pub(super) fn new(max_ms: u64) -> Self {
        Self {
            began: Instant::now(),
            max_ms,
        }
    }

    /// What becomes of a thread. Threads that stay for ever in the kernel are an error.
    ///
    /// No descriptor tells of it, and a wait in the kernel either has no end or takes the deaths of
    /// others' children, so it is waited for again and again.
    pub(super) fn wait(self, thread: Tid) -> Result<Status, TraceError> {
        // The kernel does not tell that a main thread has ended before all others were asked for.
        // It has to be asked for again then, so it must not be forgotten.
        self.until(thread, || matches!(state(thread), None | Some('Z' | 'X')))
    }

    /// Waits until the kernel itself says that a thread has ended.
    pub(super) fn wait_for_end(self, thread: Tid) -> Result<(), TraceError> {
        while self.until(thread, || false)? != Status::Ended {}
        Ok(())
    }

    fn until(self, thread: Tid, ended: impl Fn() -> bool) -> Result<Status, TraceError> {
        let began = Instant::now();
        loop {
            if let Some(status) = asked("ask what has become", thread, trace::poll(thread))? {
                return Ok(status);
            }
            if began.elapsed() < EAGER_MAX {
                thread::yield_now();
            } else if let Some(status) = asked("wait for", thread, trace::wait(thread))? {
                return Ok(status);
            } else if ended() {
                // It may have ended since it was asked for, which is told of all but that one.
                let last = asked("ask what has become", thread, trace::poll(thread))?;
                return Ok(last.unwrap_or(Status::Ended));
            } else if self.began.elapsed() >= Duration::from_millis(self.max_ms) {
                return Err(TraceError::Late {
                    thread,
                    state: state(thread).unwrap_or('?'),
                    max_ms: self.max_ms,
                });
            }
        }
    }
}

/// The outcome of a request about a thread, with the words for its failure.
pub(super) fn asked<T>(
    what: &'static str,
    thread: Tid,
    outcome: io::Result<T>,
) -> Result<T, TraceError> {
    outcome.map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH) => TraceError::Ended { thread, what },
        _ => TraceError::Refused {
            thread,
            what,
            source,
        },
    })
}

/// The state of a thread, as a letter.
pub(super) fn state(thread: Tid) -> Option<char> {
    let text = fs::read_to_string(format!("/proc/{thread}/stat")).ok()?;
    // The name before it is the program's choice, brackets and all.
    let (_, after) = text.rsplit_once(") ")?;
    after.chars().next()
}

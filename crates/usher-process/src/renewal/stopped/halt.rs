//! Stopping all threads of a program.
//!
//! ```text
//!  list ─► seize and interrupt the new ones ─► wait for each ─► list again … until none is new
//! ```
//!
//! A thread that runs can start others, so a list is whole only when all in it are stopped. A
//! signal that was on its way when the program was stopped is delivered: the thread stops at the
//! first instruction of its handler. So no signal is lost where the program goes on; and where it
//! is put back, the handler's frame goes with the memory, and the signal with it.

use std::io;
use std::num::NonZeroI32;
use std::os::fd::AsFd;

use rustix::fs::{RawDir, SeekFrom, seek};
use rustix::process::Pid;

use super::errors::{StopError, TraceError};
use super::patience::{Patience, asked, state};
use super::{Stopped, Tid};
use crate::sys::trace::{self, Status};

/// Threads that a program may have.
pub(super) const THREADS_MAX: usize = 1024;
/// Lists of threads that are read until nothing is new.
const ROUNDS_MAX: usize = 256;
/// Signals that one thread may be given between two looks at it.
const SIGNALS_MAX: usize = 64;
/// Bytes of names that are listed at once.
const LIST_BYTES: usize = 4096;
/// How long all threads may take to stop.
const STOP_MAX_MS: u64 = 2000;

impl Stopped {
    /// Stops every thread there is.
    pub(super) fn halt(&mut self) -> Result<(), StopError> {
        let patience = Patience::new(STOP_MAX_MS);
        for _ in 0..ROUNDS_MAX {
            let known = self.threads.len();
            let mut all_known = true;
            for thread in self.list()? {
                if self.threads.contains(&thread) {
                    continue;
                }
                all_known = false;
                if self.threads.len() == THREADS_MAX {
                    return Err(StopError::Threads {
                        threads_max: THREADS_MAX,
                    });
                }
                self.seize(thread)?;
            }
            if all_known {
                return Ok(());
            }
            let new = self.threads[known..].to_vec();
            for thread in new {
                self.arrive(thread, patience)?;
            }
            // Cheaper than another list: all known are stopped, and there are no more.
            if self.count()? == self.threads.len() {
                return Ok(());
            }
        }
        Err(StopError::Restless {
            rounds_max: ROUNDS_MAX,
        })
    }

    fn list(&self) -> Result<Vec<Tid>, StopError> {
        let missing = |source| StopError::Missing {
            pid: self.pid,
            source,
        };
        self.entry.threads().map_err(missing)
    }

    fn count(&self) -> Result<usize, StopError> {
        self.entry.count().map_err(|source| StopError::Missing {
            pid: self.pid,
            source,
        })
    }

    fn seize(&mut self, thread: Tid) -> Result<(), StopError> {
        let seized = trace::seize(thread).map(|()| self.threads.push(thread));
        let ended = match &seized {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => true,
            // The kernel's answer for a thread that has ended and that nobody has waited for, as
            // well as for one that may not be traced.
            Err(_) => matches!(state(thread), None | Some('Z' | 'X')),
        };
        if ended {
            return self.ended(thread);
        }
        asked("become the tracer", thread, seized)?;
        match asked("interrupt the run", thread, trace::interrupt(thread)) {
            // Waiting for it will tell.
            Ok(()) | Err(TraceError::Ended { .. }) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Threads come and go, except for the main thread.
    fn ended(&self, thread: Tid) -> Result<(), StopError> {
        if thread == self.pid {
            Err(StopError::MainEnded { pid: self.pid })
        } else {
            Ok(())
        }
    }

    /// Waits until `thread` is stopped, or forgets it if it has ended.
    fn arrive(&mut self, thread: Tid, patience: Patience) -> Result<(), StopError> {
        for _ in 0..SIGNALS_MAX {
            match patience.wait(thread)? {
                Status::Interrupted => return Ok(()),
                Status::Ended => {
                    self.ended(thread)?;
                    self.threads.retain(|kept| *kept != thread);
                    return Ok(());
                }
                Status::Signal(signal) => {
                    self.signalled.get_or_insert((thread, signal));
                    match asked("let go on", thread, trace::go_on(thread, signal)) {
                        Ok(()) | Err(TraceError::Ended { .. }) => {}
                        Err(other) => return Err(other.into()),
                    }
                }
                Status::Job(signal) => return Err(StopError::Job { thread, signal }),
                status @ Status::Event(_) => return Err(StopError::Odd { thread, status }),
            }
        }
        Err(StopError::Signals {
            thread,
            signals_max: SIGNALS_MAX,
        })
    }
}

/// The threads in an open folder of them, in its order: the main thread comes first.
pub(super) fn numbers(tasks: impl AsFd) -> io::Result<Vec<Tid>> {
    seek(&tasks, SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(LIST_BYTES);
    let mut names = RawDir::new(tasks, buffer.spare_capacity_mut());
    let mut threads = Vec::new();
    while let Some(entry) = names.next() {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        let number = name.and_then(|name| name.parse::<NonZeroI32>().ok());
        threads.extend(number.and_then(|number| Pid::from_raw(number.get())));
    }
    Ok(threads)
}

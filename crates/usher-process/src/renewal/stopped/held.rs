//! A process that is about to become a program, held at the program's first instruction.
//!
//! ```text
//!  confined, waits ─seize→ Held ─(somebody tells it to execute)─ executed → Stopped
//!                            └── dropped → killed
//! ```
//!
//! Whatever confines a program was laid on the process before it executes, so that one that is held
//! there is confined as any other, and has run nothing of the program. Deliberately absent: telling
//! it to execute.

use std::marker::PhantomData;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::errors::{StopError, TraceError};
use super::patience::{Patience, asked};
use super::{Stopped, open};
use crate::sys::trace::{self, EXECUTED, Status};

/// How long it may take until the program is executed.
const EXECUTE_MAX_MS: u64 = 5_000;

/// A process of one thread, this OS thread its tracer, which has not executed its program yet.
#[derive(Debug)]
pub(crate) struct Held(Stopped);

impl Held {
    /// Takes hold of it; it goes on until it executes.
    ///
    /// # Errors
    ///
    /// If it cannot be traced; nothing was done to it then.
    pub(crate) fn seize(pid: Pid) -> Result<Self, StopError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(StopError::Architecture);
        }
        let missing = |source: std::io::Error| StopError::Missing { pid, source };
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| missing(error.into()))?;
        let (memory, maps) = open(pid).map_err(missing)?;
        let seized = trace::seize_until_executed(pid);
        asked("become the tracer", pid, seized)?;
        Ok(Self(Stopped {
            pid,
            pidfd,
            threads: vec![pid],
            signalled: None,
            homes: Vec::new(),
            put: false,
            used: None,
            memory,
            maps,
            let_go: false,
            tracer: PhantomData,
        }))
    }

    /// Waits until it has executed its program. Blocks, for five seconds at most.
    ///
    /// # Errors
    ///
    /// It has been killed after all of them.
    pub(crate) fn executed(self) -> Result<Stopped, StopError> {
        let Self(mut stopped) = self;
        let pid = stopped.pid;
        let patience = Patience::new(EXECUTE_MAX_MS);
        let arrived = |wanted: Status| match patience.wait(pid)? {
            status if status == wanted => Ok(()),
            Status::Ended => Err(StopError::MainEnded { pid }),
            status => Err(StopError::Odd {
                thread: pid,
                status,
            }),
        };
        arrived(Status::Event(EXECUTED))?;
        // There it is still in the call that executes, whose answer would come into the registers.
        asked("interrupt the run", pid, trace::interrupt(pid))?;
        asked("let go on", pid, trace::go_on(pid, 0))?;
        arrived(Status::Interrupted)?;
        // Those that were open are of the memory that it had before.
        let opened = open(pid);
        let (memory, maps) = opened.map_err(|source| StopError::Missing { pid, source })?;
        (stopped.memory, stopped.maps) = (memory, maps);
        Ok(stopped)
    }
}

impl Stopped {
    /// Whether calls that the program makes for us pass by its filters, until it goes on.
    pub(crate) fn pass_filters(&mut self, pass: bool) -> Result<(), TraceError> {
        let passed = trace::pass_filters(self.pid, pass);
        asked("have its filters passed by", self.pid, passed)
    }
}

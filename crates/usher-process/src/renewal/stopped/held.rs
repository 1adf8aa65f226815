//! A process that is about to become a program, held at the program's first instruction.
//!
//! ```text
//!  confined, waits ─seize→ Held ─(somebody tells it to execute)─ executed → Stopped
//!                            └── dropped → killed
//! ```
//!
//! Threads are started by the program's own main thread, and stop before their first instruction.
//!
//! Whatever confines a program was laid on the process before it executes, so that one that is held
//! there is confined as any other, and has run nothing of the program. Deliberately absent: telling
//! it to execute.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use rustix::process::Pid;

use super::agent::{self, Agent};
use super::batch::{Batch, Call, Expect};
use super::errors::{InjectError, StopError, TraceError};
use super::patience::{Patience, asked};
use super::{Entry, Stopped, Tid};
use crate::sys::trace::{self, EXECUTED, Status};

/// How long it may take until the program is executed.
const EXECUTE_MAX_MS: u64 = 5_000;
/// How long threads may take to start, or to end.
const START_MAX_MS: u64 = 2_000;
/// How a thread is started: it shares all, and its tracer is that of the one that starts it.
const AS_THREAD: i32 = libc::CLONE_VM
    | libc::CLONE_FS
    | libc::CLONE_FILES
    | libc::CLONE_SIGHAND
    | libc::CLONE_THREAD
    | libc::CLONE_SYSVSEM
    | libc::CLONE_PTRACE;

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
        let entry = Arc::new(Entry::open(pid)?);
        let seized = trace::seize_until_executed(pid);
        asked("become the tracer", pid, seized)?;
        Ok(Self(Stopped {
            pid,
            entry,
            threads: vec![pid],
            signalled: None,
            homes: Vec::new(),
            ahead: Vec::new(),
            put: false,
            used: None,
            found_bytes: agent::DATA_BYTES,
            used_bytes: 0,
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
        // What was open is of the memory that it had before.
        stopped.entry = Arc::new(Entry::open(pid)?);
        Ok(stopped)
    }
}

impl Stopped {
    /// Starts threads until one has the last of `numbers`, which are in order; those of other
    /// numbers end at once. Numbers are as the program sees them, and it has had none since its
    /// own. Returns the threads in the order of their numbers.
    pub(crate) fn start_threads(
        &mut self,
        agent: &Agent,
        own: u32,
        numbers: &[u32],
    ) -> Result<Vec<Tid>, InjectError> {
        let Some(last) = numbers.last() else {
            return Ok(Vec::new());
        };
        let mut batch = Batch::new();
        for number in own + 1..=*last {
            let start = Call::new(libc::SYS_clone, [AS_THREAD.into()]);
            batch.call(start, Expect::Value(number.into()));
        }
        self.run(agent, &batch)?;
        let patience = Patience::new(START_MAX_MS);
        let mut started = vec![None; numbers.len()];
        for thread in self.entry.threads().map_err(InjectError::List)? {
            if thread == self.pid {
                continue;
            }
            self.threads.push(thread);
            match patience.wait(thread)? {
                Status::Interrupted => {}
                status => return Err(InjectError::Stays { thread, status }),
            }
            let number = number(self.pid, thread).map_err(InjectError::List)?;
            match numbers.binary_search(&number) {
                Ok(place) => started[place] = Some(thread),
                Err(_) => self.end_thread(thread, agent, patience)?,
            }
        }
        let started: Option<Vec<_>> = started.into_iter().collect();
        started.ok_or(InjectError::Lost { thread: self.pid })
    }

    fn end_thread(
        &mut self,
        thread: Tid,
        agent: &Agent,
        patience: Patience,
    ) -> Result<(), InjectError> {
        self.send_off(thread, agent)?;
        match patience.wait(thread)? {
            Status::Ended => {
                self.threads.retain(|other| *other != thread);
                Ok(())
            }
            status => Err(InjectError::Stays { thread, status }),
        }
    }

    /// Whether calls that the program makes for us pass by its filters, until it goes on.
    pub(crate) fn pass_filters(&mut self, pass: bool) -> Result<(), TraceError> {
        let passed = trace::pass_filters(self.pid, pass);
        asked("have its filters passed by", self.pid, passed)
    }
}

/// The number of a thread, as its program sees it.
pub(crate) fn number(pid: Pid, thread: Tid) -> io::Result<u32> {
    let path = format!("/proc/{pid}/task/{thread}/status");
    let status = fs::read_to_string(path)?;
    let told = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let number = told.and_then(|all| all.split_whitespace().last());
    let number = number.and_then(|number| number.parse().ok());
    number.ok_or_else(|| io::Error::other("the number of a thread is not told"))
}

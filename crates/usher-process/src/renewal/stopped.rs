//! A program whose threads are all stopped, and what can be done to it then.
//!
//! ```text
//!  runs ─stop→ Stopped ─install, run, registers, end_new_threads, put_registers→ Stopped
//!                 │ └──resume→ runs, traced by nobody
//!                 └─dropped→ killed
//! ```
//!
//! Nobody traces a program while it serves. The OS thread that has stopped it is its tracer until
//! it goes on or is dead, so a [`Stopped`] never leaves that thread; if the thread or the whole
//! platform ends, the kernel kills the program. Threads are stopped all, also those that have not
//! run since the last time; [`Registers`] has them by number, so that some could be left out.
//!
//! Deliberately absent: what is done to memory and to the kernel's state of the program; leave for
//! any thread to run while it is stopped, other than to make the calls of a [`Batch`].

mod agent;
mod batch;
mod births;
mod copies;
mod entry;
mod errors;
mod frame;
mod halt;
mod held;
mod home;
mod inject;
mod install;
mod patience;
mod registers;
#[cfg(test)]
mod tests;
mod unfiltered;

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use rustix::process::Pid;

pub(crate) use self::agent::Agent;
pub(crate) use self::batch::{Answers, Argument, Batch, Call, Expect, Full, Pointer};
pub(crate) use self::copies::Transfer;
pub(crate) use self::entry::Entry;
pub(crate) use self::errors::{InjectError, RegisterError, ResumeError, StopError, TraceError};
pub(crate) use self::held::{Held, number};
use self::home::Home;
use self::patience::{Patience, asked};
pub(crate) use self::registers::Registers;
pub(crate) use self::unfiltered::Alone;
use crate::sys::trace;
pub(crate) use crate::sys::trace::Tid;

/// How long a killed program may take to end.
const END_MAX_MS: u64 = 2000;

/// All threads of a program stopped, this OS thread their tracer. Dropping it kills the program, so
/// that no way out of an error lets a program run that is not clean.
#[derive(Debug)]
pub(crate) struct Stopped {
    pid: Pid,
    entry: Arc<Entry>,
    /// All that this OS thread traces, the main thread first.
    threads: Vec<Tid>,
    signalled: Option<(Tid, i32)>,
    /// Where threads were before they made calls for us.
    homes: Vec<Home>,
    /// Where threads are going to be, if that is known; nobody asks then where they are.
    ahead: Vec<Home>,
    /// Whether the threads have their registers from a snapshot.
    put: bool,
    /// The agent, once it was used.
    used: Option<Agent>,
    /// Bytes of the agent's data behind which the program has left nothing.
    found_bytes: usize,
    /// Bytes of it that our batches have used.
    used_bytes: usize,
    /// Whether the program goes on, and is no longer ours to kill.
    let_go: bool,
    /// The kernel takes a tracer's requests from that one thread only.
    tracer: PhantomData<*const ()>,
}

impl Stopped {
    /// Stops all threads of the program. Blocks, for two seconds at most.
    ///
    /// # Errors
    ///
    /// After all of them but [`StopError::Architecture`] the program has been killed.
    pub(crate) fn stop(pid: Pid) -> Result<Self, StopError> {
        if !cfg!(target_arch = "x86_64") {
            return Err(StopError::Architecture);
        }
        Self::stop_again(Arc::new(Entry::open(pid)?))
    }

    /// The same for a program whose entry was opened before.
    pub(crate) fn stop_again(entry: Arc<Entry>) -> Result<Self, StopError> {
        let mut stopped = Self {
            pid: entry.pid(),
            entry,
            threads: Vec::new(),
            signalled: None,
            homes: Vec::new(),
            ahead: Vec::new(),
            put: false,
            used: None,
            found_bytes: agent::DATA_BYTES,
            used_bytes: 0,
            let_go: false,
            tracer: PhantomData,
        };
        stopped.halt()?;
        Ok(stopped)
    }

    /// By which it can be stopped again.
    pub(crate) fn entry(&self) -> Arc<Entry> {
        self.entry.clone()
    }

    /// The program, as this process sees it.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its threads, the main thread first.
    pub(crate) fn threads(&self) -> &[Tid] {
        &self.threads
    }

    /// A signal that was delivered to a thread while it was being stopped: the program was not
    /// quiet.
    pub(crate) fn signalled(&self) -> Option<(Tid, i32)> {
        self.signalled
    }

    /// Reads the program's memory at `address`, whatever its protection; all of `into`, or an
    /// error.
    pub(crate) fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.entry.read(address, into)
    }

    /// Writes the program's memory at `address`, whatever its protection.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.entry.write(address, bytes)
    }

    /// The program has no pages in the agent's data from `address` on, so that what our batches do
    /// not use there need not be wiped.
    pub(crate) fn agent_is_clear_from(&mut self, agent: &Agent, address: u64) {
        let bytes = address.saturating_sub(agent.data().start);
        self.found_bytes =
            usize::try_from(bytes).map_or(agent::DATA_BYTES, |bytes| bytes.min(agent::DATA_BYTES));
    }

    /// Lets the program go on, traced by nobody. Threads that were not given the registers of a
    /// snapshot go on where they were, without noticing. If the agent was used, its data is
    /// wiped: the program could have kept something there.
    ///
    /// # Errors
    ///
    /// Also if the program was to be put back, and was not: see [`Stopped::goes_back_to`].
    pub(crate) fn resume(mut self) -> Result<(), ResumeError> {
        if !self.ahead.is_empty() && !self.put {
            return Err(ResumeError::NotPut);
        }
        self.go_home()?;
        if !self.put {
            self.threads
                .iter()
                .try_for_each(|thread| self.mend(*thread))?;
        }
        if let Some(agent) = &self.used {
            let address = agent.data().start;
            let dirty = self.found_bytes.max(self.used_bytes);
            let wiped = self.write(address, &agent::ZEROS[..dirty]);
            wiped.map_err(|source| ResumeError::Wipe { address, source })?;
        }
        for thread in &self.threads {
            asked("let go", *thread, trace::detach(*thread))?;
        }
        self.let_go = true;
        Ok(())
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.let_go {
            return;
        }
        // A program that is dead already is what is wanted.
        self.entry.kill();
        let patience = Patience::new(END_MAX_MS);
        // The kernel tells of the main thread's end when all others were asked for.
        self.threads.sort_by_key(|thread| *thread == self.pid);
        for thread in &self.threads {
            if let Err(error) = patience.wait_for_end(*thread) {
                tracing::error!(%thread, %error, "a killed program does not end");
                return;
            }
        }
    }
}

//! A program whose threads are all stopped, and what can be done to it then.

mod agent;
mod batch;
mod errors;
mod registers;

use std::marker::PhantomData;

use rustix::process::Pid;

pub(crate) use self::agent::Agent;
pub(crate) use self::batch::{Answers, Argument, Batch, Call, Expect, Full, Pointer};
pub(crate) use self::errors::{InjectError, RegisterError, ResumeError, StopError};
pub(crate) use self::registers::Registers;
pub(crate) use crate::sys::trace::Tid;

/// All threads of a program stopped, this OS thread their tracer. Dropping it kills the program, so
/// that no way out of an error lets a program run that is not clean.
#[derive(Debug)]
pub(crate) struct Stopped {
    pid: Pid,
    threads: Vec<Tid>,
    /// The kernel takes a tracer's requests from that one thread only.
    tracer: PhantomData<*const ()>,
}

#[expect(clippy::unimplemented, reason = "signatures first")]
impl Stopped {
    /// Stops all threads of the program. Blocks for as long as it takes, but not for ever.
    pub(crate) fn stop(_pid: Pid) -> Result<Self, StopError> {
        unimplemented!()
    }

    /// The program, as this process sees it.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Its threads, the main thread first.
    pub(crate) fn threads(&self) -> &[Tid] {
        &self.threads
    }

    /// A signal that was delivered to a thread while it was being stopped: the program is not quiet.
    pub(crate) fn signalled(&self) -> Option<(Tid, i32)> {
        None
    }

    /// Reads the program's memory at `address`, whatever its protection; all of `into`, or an error.
    pub(crate) fn read(&self, _address: u64, _into: &mut [u8]) -> std::io::Result<()> {
        unimplemented!()
    }

    /// Writes the program's memory at `address`, whatever its protection.
    pub(crate) fn write(&self, _address: u64, _bytes: &[u8]) -> std::io::Result<()> {
        unimplemented!()
    }

    /// Maps the agent into the program. Once per program: later stops use the same agent.
    pub(crate) fn install(&mut self) -> Result<Agent, InjectError> {
        unimplemented!()
    }

    /// Lets the main thread make the calls of `batch`, any number of them, and checks every answer.
    pub(crate) fn run(&mut self, _agent: &Agent, _batch: &Batch) -> Result<Answers, InjectError> {
        unimplemented!()
    }

    /// The same, by any one of the threads: for what the kernel keeps per thread.
    pub(crate) fn run_by(
        &mut self,
        _thread: Tid,
        _agent: &Agent,
        _batch: &Batch,
    ) -> Result<Answers, InjectError> {
        unimplemented!()
    }

    /// The registers of all threads, so that a call that waited will be made again.
    pub(crate) fn registers(&self) -> Result<Registers, RegisterError> {
        unimplemented!()
    }

    /// Ends the threads that `kept` does not know; returns how many. Before memory is put back, which
    /// the end of a thread may still write to. An error if one of `kept`'s threads is missing.
    pub(crate) fn end_new_threads(
        &mut self,
        _agent: &Agent,
        _kept: &Registers,
    ) -> Result<usize, InjectError> {
        unimplemented!()
    }

    /// Gives every thread the registers it had.
    pub(crate) fn put_registers(&mut self, _kept: &Registers) -> Result<(), RegisterError> {
        unimplemented!()
    }

    /// Lets the program go on, traced by nobody.
    pub(crate) fn resume(self) -> Result<(), ResumeError> {
        unimplemented!()
    }
}

//! Why a program could not be stopped, made to call the kernel, given its registers, or let go.
//!
//! After each of them the program is killed when its [`super::Stopped`] is dropped.

use std::io;

use thiserror::Error;

use super::Tid;
use super::batch::Expect;
use crate::sys::trace::{Area, Status};

/// A request to the kernel about one thread failed.
#[derive(Debug, Error)]
pub(crate) enum TraceError {
    /// It was killed, or ended by itself.
    #[error("thread {thread} of the program has ended; could not {what}")]
    Ended {
        /// Which thread.
        thread: Tid,
        /// What was tried.
        what: &'static str,
    },
    /// It did not come to a stop in time.
    #[error("thread {thread} of the program, in state {state}, did not stop within {max_ms} ms")]
    Late {
        /// Which thread.
        thread: Tid,
        /// As in `/proc/PID/stat`; `?` if that cannot be told.
        state: char,
        /// The bound.
        max_ms: u64,
    },
    /// The kernel refused.
    #[error("could not {what} of thread {thread} of the program")]
    Refused {
        /// Which thread.
        thread: Tid,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// The program's threads could not all be stopped.
#[derive(Debug, Error)]
pub(crate) enum StopError {
    /// Only x86-64 is known here. Nothing was done to the program.
    #[error("not renewable: the registers of this processor's programs are not known; use x86-64")]
    Architecture,
    /// There is no such process.
    #[error("the program (process {pid}) is not there")]
    Missing {
        /// Which process.
        pid: Tid,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its main thread has ended, while others may still run.
    #[error("the program's main thread {pid} has ended")]
    MainEnded {
        /// Which process.
        pid: Tid,
    },
    /// A request failed.
    #[error("could not stop the program")]
    Trace(#[from] TraceError),
    /// A signal of job control has stopped it; it would never answer a request.
    #[error("the program was stopped by signal {signal} (thread {thread})")]
    Job {
        /// The thread that was found so.
        thread: Tid,
        /// `SIGSTOP` or another.
        signal: i32,
    },
    /// It stopped at something nobody asked for.
    #[error("thread {thread} of the program stopped at {status:?} instead of an interruption")]
    Odd {
        /// Which thread.
        thread: Tid,
        /// At what.
        status: Status,
    },
    /// One thread was given signal after signal.
    #[error("thread {thread} of the program was given more than {signals_max} signals meanwhile")]
    Signals {
        /// Which thread.
        thread: Tid,
        /// The bound.
        signals_max: usize,
    },
    /// It has too many threads.
    #[error("the program has more than {threads_max} threads")]
    Threads {
        /// The bound.
        threads_max: usize,
    },
    /// New threads were found again and again.
    #[error("the program's threads were not all found in {rounds_max} rounds")]
    Restless {
        /// The bound.
        rounds_max: usize,
    },
}

/// The program could not be made to call the kernel as it was asked to.
#[derive(Debug, Error)]
pub(crate) enum InjectError {
    /// A request failed.
    #[error("could not make the program call the kernel")]
    Trace(#[from] TraceError),
    /// The thread is not one of the program's.
    #[error("thread {thread} is not one of the program's")]
    Foreign {
        /// Which thread.
        thread: Tid,
    },
    /// The bytes of a batch leave no room for a single thread's calls.
    #[error("the calls of one thread have no room beside the bytes that they need")]
    Crowded,
    /// Its memory could not be read or written.
    #[error("could not reach the program's memory at {address:#x}")]
    Memory {
        /// Where.
        address: u64,
        /// Why not.
        source: io::Error,
    },
    /// Its mappings could not be read.
    #[error("could not read the program's mappings")]
    Maps(#[source] io::Error),
    /// No instruction was found that calls the kernel.
    #[error("not renewable: the program has no vDSO, or one without a system call")]
    NoVdso,
    /// The program has changed the agent's pages.
    #[error("the agent's pages at {address:#x} are not as they were mapped, but {found:?}")]
    Tampered {
        /// Where they should be.
        address: u64,
        /// What is there.
        found: Option<Area>,
    },
    /// What was written to the agent's text is not what is read there.
    #[error("the agent's text at {address:#x} is not what was written")]
    Text {
        /// Where it is.
        address: u64,
    },
    /// It stopped somewhere else than behind its last call.
    #[error("the program stopped at {status:?} after {made} of {calls} calls, at {at:#x}")]
    Stray {
        /// The kind of stop.
        status: Status,
        /// The next instruction.
        at: u64,
        /// Calls that were made, as far as its registers tell.
        made: usize,
        /// Calls it was to make.
        calls: usize,
    },
    /// It stopped somewhere else than behind its last copy.
    #[error("the program stopped at {status:?} with {left} copies still to be made, at {at:#x}")]
    Uncopied {
        /// The kind of stop.
        status: Status,
        /// The next instruction.
        at: u64,
        /// Copies that were left, as far as its registers tell.
        left: u64,
    },
    /// A call did not answer as expected.
    #[error("call {place} (number {number}) answered {answer}, which is not {expected:?}")]
    Answer {
        /// Its place in the batch.
        place: usize,
        /// The kernel's number for it.
        number: i64,
        /// What it answered; an error is the negative of its number.
        answer: i64,
        /// What it should have.
        expected: Expect,
    },
    /// Threads of the snapshot are gone.
    #[error("thread {thread} was there at the snapshot and has ended since")]
    Lost {
        /// One of them.
        thread: Tid,
    },
    /// A thread that was to end did not.
    #[error("thread {thread}, born since the snapshot, did not end but stopped at {status:?}")]
    Stays {
        /// Which thread.
        thread: Tid,
        /// At what.
        status: Status,
    },
    /// The threads could not be listed.
    #[error("could not list the program's threads")]
    List(#[source] io::Error),
}

/// The registers of a thread could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum RegisterError {
    /// A request failed.
    #[error("could not reach the program's registers")]
    Trace(#[from] TraceError),
    /// It cannot be put back with these.
    #[error("not renewable: thread {thread} {why}")]
    Thread {
        /// Which thread.
        thread: Tid,
        /// What is unusual about it, as the end of a sentence.
        why: &'static str,
    },
    /// The threads are not those of the snapshot.
    #[error("the program's threads are not those of its snapshot, but for example {thread}")]
    Threads {
        /// One that is new, or missing.
        thread: Tid,
    },
}

/// The program could not go on.
#[derive(Debug, Error)]
pub(crate) enum ResumeError {
    /// Where its threads were is not known any more.
    #[error("the program was to be put back, and its registers were not")]
    NotPut,
    /// A request failed.
    #[error("could not let the program go on")]
    Trace(#[from] TraceError),
    /// The agent's pages could not be wiped.
    #[error("could not wipe the agent's pages at {address:#x}")]
    Wipe {
        /// Where they are.
        address: u64,
        /// Why not.
        source: io::Error,
    },
}

//! Another process made like a program that was ready, instead of starting that program again.
//!
//! ```text
//! snapshot ─pattern→ Pattern, one for all environments of an image
//! confined process ─seize→ Filling ─executed→ held ─► agent ─► memory ─► kernel ─► registers
//!                                               └─► derived of it: equal? ─► resumed, a Snapshot
//! ```
//!
//! The clone goes the way of any program up to the execution of the same file, so that it is
//! confined as any other before anything is done to it; the program's first instruction never runs.
//! Its calls pass by its filters only while it is cleared, when nothing of the program is in it.
//! What was derived from the first program is derived from the clone as well, and must be the same.
//!
//! The way is CRIU's, with the process tree, the network and the confinement left to who made the
//! sandbox. Deliberately absent: programs with files of their own; the
//! choice to clone (`crate::cloned`).

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::Pid;

use super::kernel::{self, Given, Kernel, Surroundings};
use super::memory;
use super::snapshot::Snapshot;
use super::step::{Injected, MadeToFail, Step};
use super::stopped::{
    Held, InjectError, RegisterError, Registers, ResumeError, StopError, Stopped, TraceError,
};

/// What is needed to make other processes like a program at its snapshot.
#[derive(Debug)]
pub(crate) struct Pattern {
    memory: memory::Pattern,
    kernel: kernel::Pattern,
    registers: Registers,
    /// The file that was executed last, and what shows that it is the same one.
    executed: (String, (u64, u64)),
}

/// Why there is no pattern of a program, which goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPattern {
    #[error(transparent)]
    Memory(#[from] memory::NoPattern),
    #[error(transparent)]
    Kernel(#[from] kernel::NoPattern),
    #[error("the file that it executes has no path")]
    Executed,
    #[error("it could not be looked at")]
    Unread(#[source] io::Error),
    /// It was killed.
    #[error("it could not be stopped and let go again")]
    Stop(#[source] NotCloned),
}

impl NoPattern {
    /// Whether the program is untouched.
    pub(crate) fn spares_program(&self) -> bool {
        !matches!(self, Self::Stop(_))
    }
}

/// Why a process could not be made like another one. It was killed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCloned {
    #[error(transparent)]
    MadeToFail(#[from] MadeToFail),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Inject(#[from] InjectError),
    #[error(transparent)]
    Registers(#[from] RegisterError),
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error(transparent)]
    Memory(#[from] memory::Failed),
    #[error(transparent)]
    Fill(#[from] kernel::Leftover),
    #[error(transparent)]
    Take(#[from] kernel::TakeError),
    #[error("the clone cannot be looked at as the first program was")]
    Derive(#[from] kernel::NoPattern),
    #[error("the clone executes another file than the first program")]
    Executed,
    #[error("the clone has not the threads of the first program")]
    Threads,
    #[error("the clone is not like the first program: {0}")]
    Differs(String),
    #[error("nobody told where the clone is")]
    Abandoned,
}

impl Snapshot {
    /// The pattern of the program, which has done nothing since this snapshot of it was taken.
    /// `given`: what it was given by the platform.
    pub(crate) fn pattern(&self, program: Pid, given: &[Given]) -> Result<Pattern, NoPattern> {
        let stop = |error: NotCloned| NoPattern::Stop(error);
        let mut stopped = Stopped::stop(program).map_err(|error| stop(error.into()))?;
        let derived = self.derived(program, given);
        let put = stopped.put_registers(&self.registers);
        put.map_err(|error| stop(error.into()))?;
        stopped.resume().map_err(|error| stop(error.into()))?;
        derived
    }

    fn derived(&self, program: Pid, given: &[Given]) -> Result<Pattern, NoPattern> {
        let (path, file) = executed(program).map_err(NoPattern::Unread)?;
        if !path.starts_with('/') || path.ends_with(" (deleted)") {
            return Err(NoPattern::Executed);
        }
        Ok(Pattern {
            kernel: self.kernel.pattern(given)?,
            memory: self.memory.pattern(program)?,
            registers: self.registers.clone(),
            executed: (path, file),
        })
    }
}

/// The file that a process executes: its path inside, and device and number.
fn executed(process: Pid) -> io::Result<(String, (u64, u64))> {
    let link = format!("/proc/{}/exe", process.as_raw_nonzero());
    let path = fs::read_link(&link)?.into_os_string().into_string();
    let path = path.map_err(|_| io::Error::other("its path is no text"))?;
    let about = fs::metadata(link)?;
    Ok((path, (about.dev(), about.ino())))
}

impl Pattern {
    /// What a process executes that is to be filled.
    pub(crate) fn executes(&self) -> &str {
        &self.executed.0
    }

    /// How many connections to the Runtime API a clone has.
    pub(crate) fn connections(&self) -> usize {
        self.kernel.connections()
    }
}

/// A process that will be filled once it has executed. This OS thread is its tracer; dropping this
/// kills it.
pub(crate) struct Filling(Held);

impl Filling {
    /// Takes hold of a process that is about to execute.
    pub(crate) fn seize(process: Pid) -> Result<Self, NotCloned> {
        Ok(Self(Held::seize(process)?))
    }

    /// Fills it and lets it go on. Blocks until it has executed. `around` waits to be told what is
    /// around it, and what it was given; none: nobody will tell.
    pub(crate) fn fill(
        self,
        pattern: &Pattern,
        around: impl FnOnce() -> Option<(Surroundings, Vec<Given>)>,
        injected: &Injected,
    ) -> Result<Snapshot, NotCloned> {
        let mut stopped = self.0.executed()?;
        let pid = stopped.pid();
        injected.after(Step::CloneExecuted)?;
        if !executed(pid).is_ok_and(|(_, file)| file == pattern.executed.1) {
            return Err(NotCloned::Executed);
        }
        stopped.pass_filters(true)?;
        let agent = stopped.install_as(pattern.memory.agent())?;
        pattern.memory.clear(&mut stopped, &agent)?;
        // From here on there are bytes of the program in it, by which it could find a way to run.
        stopped.pass_filters(false)?;
        let mut memory = pattern.memory.fill(&mut stopped, &agent)?;
        injected.after(Step::CloneMemory)?;
        let threads = pattern.kernel.fill(&mut stopped, &agent)?;
        injected.after(Step::CloneKernel)?;
        let (mut surroundings, given) = around().ok_or(NotCloned::Abandoned)?;
        memory.bound(surroundings.room.take());
        let kernel = Kernel::take(&mut stopped, &agent, surroundings)?;
        if let Some(what) = pattern.kernel.difference(&kernel.pattern(&given)?) {
            return Err(NotCloned::Differs(what));
        }
        injected.after(Step::CloneTaken)?;
        let registers = pattern.registers.renumbered(&threads);
        let registers = registers.ok_or(NotCloned::Threads)?;
        stopped.put_registers(&registers)?;
        let entry = stopped.entry();
        stopped.resume()?;
        injected.after(Step::CloneResume)?;
        Ok(Snapshot {
            entry,
            page: None,
            agent,
            memory,
            kernel,
            registers,
        })
    }
}

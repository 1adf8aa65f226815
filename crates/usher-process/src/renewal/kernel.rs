//! What a run can leave in the kernel: taken once, and put back after each run.
//!
//! ```text
//! take ─► plan ─► (the batch is made by the program) ─► done ─► ready for the next run
//!           └── cannot be put back ──► Leftover ─► replaced
//! compare: all of it again, by other reads; for the audit
//! ```
//!
//! `docs/renewal.md` is the law: it says of each call that a program may make what it leaves, and
//! which piece here sees to it. Each piece has a file of its own. Nearly everything is set from
//! outside, through duplicates of the program's descriptors; what only the program can do is
//! appended to the one batch that it makes. Deliberately absent: memory, registers, and the end of
//! new threads.

mod children;
mod descriptors;
mod epoll;
mod errors;
mod given;
mod ipc;
mod kinds;
mod locks;
mod pattern;
mod proc;
mod process;
mod scratch;
mod signals;
mod sockets;
#[cfg(test)]
mod tests;
mod threads;
mod timers;
mod tree;

use std::os::fd::RawFd;
use std::path::PathBuf;

use rustix::process::Pid;

use super::memory::Room;
use super::stopped::{Agent, Alone, Answers, Batch, Stopped};

pub(crate) use self::errors::{Difference, Leftover, TakeError};
pub(crate) use self::pattern::{Given, NoPattern, Pattern};
pub(crate) use self::scratch::Writable;

use self::children::Children;
use self::descriptors::Descriptors;
use self::errors::About as _;
use self::ipc::Ipc;
use self::proc::Proc;
use self::process::Process;
use self::scratch::Scratch;
use self::signals::Signals;
use self::threads::Threads;
use self::timers::Timers;

/// What is around a program.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// The folder of the control group that counts the tasks of its sandbox, if there is one.
    pub(crate) group: Option<PathBuf>,
    /// The sandbox's first process, if it is not the program itself.
    pub(crate) first: Option<Pid>,
    /// The folders that it may write to.
    pub(crate) writable: Vec<Writable>,
    /// How much more memory its sandbox may take, where a control group bounds that.
    pub(crate) room: Option<Room>,
    /// Numbers of descriptors in the program that are the platform's, such as its image.
    pub(crate) ours: Vec<RawFd>,
}

/// A program's state in the kernel at its snapshot.
///
/// It holds duplicates of the program's descriptors: as long as it lives, the other ends of its
/// pipes and connections do not hear that the program has closed them or has ended. Whoever learns
/// of the end of a program drops this first.
#[derive(Debug)]
pub(crate) struct Kernel {
    proc: Proc,
    descriptors: Descriptors,
    signals: Signals,
    timers: Timers,
    process: Process,
    threads: Threads,
    scratch: Vec<Scratch>,
    children: Children,
    ipc: Ipc,
}

impl Kernel {
    /// Takes the state of a stopped program that is at rest.
    ///
    /// # Errors
    ///
    /// If there is something that could not be put back: the program is then not renewed, but
    /// replaced after each run.
    pub(crate) fn take(
        stopped: &mut Stopped,
        agent: &Agent,
        surroundings: Surroundings,
    ) -> Result<Self, TakeError> {
        let proc = Proc::open(stopped.pid()).taking("the program's entry in /proc")?;
        let children = Children::take(&proc, stopped, &surroundings)?;
        let writable = surroundings.writable.into_iter();
        let scratch: Vec<_> = writable.map(Scratch::take).collect::<Result<_, _>>()?;
        let devices: Vec<u64> = scratch.iter().map(Scratch::device).collect();
        Ok(Self {
            descriptors: Descriptors::take(&proc, &surroundings.ours, &devices)?,
            signals: Signals::take(stopped, agent)?,
            timers: Timers::take(&proc, stopped, agent)?,
            process: Process::take(&proc, stopped, agent)?,
            threads: Threads::take(&proc, stopped, agent)?,
            ipc: Ipc::take(stopped, agent)?,
            scratch,
            children,
            proc,
        })
    }

    /// Puts back what can be from outside, and appends to `batch` what the program has to do. The
    /// calls must be made before those that put memory back.
    ///
    /// # Errors
    ///
    /// If a run has left what cannot be put back.
    pub(crate) fn plan(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
        batch: &mut Batch,
    ) -> Result<(), Leftover> {
        self.descriptors.give_back(&self.proc, stopped, agent)?;
        self.signals.plan(batch)?;
        self.timers.plan(batch)?;
        self.threads.plan(stopped, agent, batch)?;
        self.process.plan(&self.proc, batch)?;
        self.descriptors.plan(&self.proc, batch)?;
        self.ipc.plan(batch)?;
        for scratch in &mut self.scratch {
            scratch.plan()?;
        }
        Ok(())
    }

    /// Sees that there is nobody but the program, whose new threads have ended.
    ///
    /// # Errors
    ///
    /// If a run has left a process.
    pub(crate) fn alone(&self, stopped: &Stopped) -> Result<Alone, Leftover> {
        self.children.check(&self.proc, stopped)?;
        Ok(Alone::seen())
    }

    /// Looks whether all of it took, when the batch was made and new threads have been ended.
    ///
    /// # Errors
    ///
    /// If something is still there that was not at the snapshot.
    pub(crate) fn done(
        &mut self,
        stopped: &mut Stopped,
        agent: &Agent,
        answers: &Answers,
    ) -> Result<(), Leftover> {
        self.children.check(&self.proc, stopped)?;
        self.signals.done(stopped, agent)?;
        self.process.done(&self.proc, answers)?;
        self.ipc.done(answers)?;
        self.timers.done()?;
        self.descriptors.done(&self.proc)?;
        for scratch in &mut self.scratch {
            scratch.done()?;
        }
        Ok(())
    }

    /// Compares everything with the snapshot, more thoroughly than `plan` and `done` do and by
    /// other reads. For a program that was put back and is still stopped.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub(crate) fn compare(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Difference> {
        self.children.compare(&self.proc, stopped)?;
        self.descriptors.compare(&self.proc)?;
        self.signals.compare(stopped, agent)?;
        self.timers.compare(&self.proc, stopped, agent)?;
        self.process.compare(&self.proc, stopped, agent)?;
        self.threads.compare(&self.proc, stopped, agent)?;
        self.ipc.compare(stopped, agent)?;
        for scratch in &self.scratch {
            scratch.compare()?;
        }
        Ok(())
    }
}

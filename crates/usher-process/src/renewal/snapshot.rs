//! What is kept of a program that was ready for its first request, and putting it back to that.
//!
//! The order matters: threads that a run left behind end before memory is looked at, since the
//! kernel writes into it when they do; what must happen inside the program happens in one batch;
//! registers come last. Whatever fails drops the stopped program, which kills it.
//!
//! Everything here blocks. Deliberately absent: tasks, time limits, the choice to put back.

use std::path::Path;
use std::sync::Arc;

use rustix::process::Pid;
use usher_core::renewal::choice::Way;

use super::kernel::{self, Kernel, Surroundings};
use super::memory::{self, Aside, Memory, Planned, Undetermined, Wanted};
use super::spent::{Part, Spent};
use super::step::{Injected, Injection, MadeToFail, Step};
use super::stopped::{
    Agent, Answers, Batch, Entry, InjectError, RegisterError, Registers, ResumeError, StopError,
    Stopped,
};
use crate::restored::page::{Page, PageError};

/// A program's state between its requests.
pub(crate) struct Snapshot {
    pub(super) entry: Arc<Entry>,
    pub(super) agent: Agent,
    pub(super) memory: Memory,
    pub(super) kernel: Kernel,
    pub(super) registers: Registers,
    pub(super) page: Option<Arc<Page>>,
}

/// A program was put back.
#[derive(Debug)]
pub(crate) struct Back {
    /// By this way, which is not the wanted one where that cannot be gone.
    pub(crate) way: Way,
    /// The area that the run has used, if memory was swapped; dropping it scrubs it.
    pub(crate) aside: Option<Aside>,
    /// How long the program was stopped, in nanoseconds; an audit is not counted.
    pub(crate) stopped_ns: u64,
    /// What of it exchanging the pages took, in nanoseconds.
    pub(crate) swap_ns: u64,
}

/// Why a program has no snapshot. It was killed if it had been stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTaken {
    /// It was not at rest.
    #[error("signal {0} was delivered while the snapshot was to be taken")]
    Signalled(i32),
    #[error(transparent)]
    MadeToFail(#[from] MadeToFail),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error(transparent)]
    Inject(#[from] InjectError),
    #[error(transparent)]
    Registers(#[from] RegisterError),
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error(transparent)]
    Memory(#[from] memory::TakeError),
    #[error(transparent)]
    Kernel(#[from] kernel::TakeError),
    #[error(transparent)]
    Area(#[from] memory::Failed),
    #[error(transparent)]
    Page(#[from] PageError),
}

/// Why a program was not put back. It was killed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPutBack {
    #[error(transparent)]
    MadeToFail(#[from] MadeToFail),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error(transparent)]
    Inject(#[from] InjectError),
    #[error(transparent)]
    Registers(#[from] RegisterError),
    #[error(transparent)]
    Resume(#[from] ResumeError),
    #[error(transparent)]
    Memory(#[from] memory::Failed),
    #[error(transparent)]
    Kernel(#[from] kernel::Leftover),
    #[error(transparent)]
    Page(#[from] PageError),
    /// The audit, which compares everything by other ways, has found a difference.
    #[error("after the program was put back, {0}")]
    Differs(String),
}

impl Snapshot {
    /// Takes the snapshot of a program that rests, and lets it go on. With `areas` its memory takes
    /// turns between two areas from then on: see [`Memory::divide`].
    pub(crate) fn take(
        program: Pid,
        mut surroundings: Surroundings,
        areas: Option<[Option<&Path>; 2]>,
        page: Option<Arc<Page>>,
        injected: &Injected,
    ) -> Result<Self, NotTaken> {
        let mut stopped = Stopped::stop(program)?;
        if let Some((_, signal)) = stopped.signalled() {
            return Err(NotTaken::Signalled(signal));
        }
        injected.after(Step::TakeStop)?;
        let agent = stopped.install()?;
        injected.after(Step::TakeAgent)?;
        let registers = stopped.registers()?;
        if let Some(thread) = registers.busy() {
            let thread = thread.as_raw_nonzero();
            tracing::debug!(thread, "a thread was at work when its snapshot was taken");
        }
        injected.after(Step::TakeRegisters)?;
        let mut memory = Memory::take(&mut stopped, &agent)?;
        memory.bound(surroundings.room.take());
        injected.after(Step::TakeMemory)?;
        let kernel = Kernel::take(&mut stopped, &agent, surroundings)?;
        injected.after(Step::TakeKernel)?;
        if let Some(folders) = areas {
            memory.divide(folders)?;
            // The first area is clean, and none was left for it.
            let _none = memory.show_next(&mut stopped, &agent)?;
        }
        stopped.put_registers(&registers)?;
        let entry = stopped.entry();
        // What the program has made of the page until now is a part of the snapshot.
        page.as_deref().map_or(Ok(()), Page::turn)?;
        stopped.resume()?;
        injected.after(Step::TakeResume)?;
        Ok(Self {
            entry,
            agent,
            memory,
            kernel,
            registers,
            page,
        })
    }

    /// The same, of a program that reads its generation from this page.
    pub(crate) fn with_page(mut self, page: Option<Arc<Page>>) -> Self {
        self.page = page;
        self
    }

    /// Puts the program back, by the `wanted` way where it can be gone; with `audit` all of it is
    /// compared before it goes on.
    pub(crate) fn put_back(
        &mut self,
        wanted: Way,
        audit: bool,
        injected: &Injected,
    ) -> Result<Back, NotPutBack> {
        let mut spent = Spent::begin();
        let mut stopped = Stopped::stop_again(self.entry.clone())?;
        spent.on(Part::Stop);
        injected.after(Step::Stop)?;
        stopped.goes_back_to(&self.registers);
        stopped.end_new_threads(&self.agent, &self.registers)?;
        spent.on(Part::Stop);
        injected.after(Step::Threads)?;
        let mut batch = Batch::new();
        self.kernel.plan(&mut stopped, &self.agent, &mut batch)?;
        spent.on(Part::Kernel);
        injected.after(Step::KernelPlan)?;
        let wanted = self.wanted(wanted, injected);
        let planned = self
            .memory
            .plan(&mut stopped, &self.agent, &mut batch, wanted);
        let mut planned = planned?;
        let mut way = planned.way();
        spent.on(Part::Memory);
        injected.after(Step::MemoryPlan)?;
        let answers = stopped.run(&self.agent, &batch)?;
        spent.on(Part::Batch);
        injected.after(Step::Batch)?;
        let mut aside = self.exchange(&mut stopped, &mut planned, &answers)?;
        spent.on(Part::Swap);
        injected.after(Step::Swap)?;
        self.kernel.done(&mut stopped, &self.agent, &answers)?;
        spent.on(Part::Kernel);
        let pages = self.memory.done(&stopped, planned)?;
        spent.on(Part::Memory);
        injected.after(Step::Done)?;
        if injected.is(Step::Swap, Injection::Spoil) {
            self.memory.spoil(&stopped)?;
        }
        stopped.put_registers(&self.registers)?;
        injected.after(Step::Registers)?;
        spent.on(Part::Registers);
        if audit {
            self.compare(&mut stopped)?;
            spent.leave_out();
        }
        if self.memory.is_divided() {
            way = Way::Swap;
            aside = self.show_next(&mut stopped, injected)?;
            spent.on(Part::Swap);
        }
        // Only now is nothing left of the run, which must not see what the next one is given.
        self.page.as_deref().map_or(Ok(()), Page::turn)?;
        stopped.resume()?;
        spent.on(Part::Resume);
        injected.after(Step::Resume)?;
        tracing::debug!(?way, ?spent, ?pages, "a program was put back");
        Ok(Back {
            way,
            aside,
            stopped_ns: spent.total_ns(),
            swap_ns: spent.of_ns(Part::Swap),
        })
    }

    /// How memory is to be put back, where `wanted` is asked for. One whose areas are on devices is
    /// put back on the image, and shown another area then.
    fn wanted(&self, wanted: Way, injected: &Injected) -> Wanted {
        match (self.memory.is_divided(), wanted) {
            (true, _) => Wanted::Way(Way::InPlace),
            (_, Way::Swap) if injected.is(Step::Swap, Injection::Skip) => Wanted::Skipped,
            (_, wanted) => Wanted::Way(wanted),
        }
    }

    /// Exchanges pages, where that is the way.
    fn exchange(
        &mut self,
        stopped: &mut Stopped,
        planned: &mut Planned,
        answers: &Answers,
    ) -> Result<Option<Aside>, NotPutBack> {
        if planned.way() == Way::InPlace {
            return Ok(None);
        }
        let alone = self.kernel.alone(stopped)?;
        let (memory, agent) = (&mut self.memory, &self.agent);
        Ok(memory.swap(stopped, agent, planned, answers, &alone)?)
    }

    /// Shows the program its next area on a device.
    fn show_next(
        &mut self,
        stopped: &mut Stopped,
        injected: &Injected,
    ) -> Result<Option<Aside>, NotPutBack> {
        if injected.is(Step::Swap, Injection::Skip) {
            return Ok(None);
        }
        let left = self.memory.show_next(stopped, &self.agent)?;
        stopped.put_registers(&self.registers)?;
        Ok(left)
    }

    /// Reads whether the program, which goes on, is in another area than in the run before.
    pub(crate) fn determine(&self, program: Pid) -> Result<(), Undetermined> {
        self.memory.determine(program)
    }

    /// Compares all of the stopped program with the snapshot.
    fn compare(&self, stopped: &mut Stopped) -> Result<(), NotPutBack> {
        let differs = |what: &dyn ToString| NotPutBack::Differs(what.to_string());
        let registers = stopped.registers()?;
        if let Some(thread) = registers.difference(&self.registers) {
            let what = format!("the registers of thread {} differ", thread.as_raw_nonzero());
            return Err(NotPutBack::Differs(what));
        }
        self.memory.compare(stopped).map_err(|it| differs(&it))?;
        let kernel = self.kernel.compare(stopped, &self.agent);
        kernel.map_err(|it| differs(&it))?;
        // The comparison has let the program make calls.
        Ok(stopped.put_registers(&self.registers)?)
    }
}

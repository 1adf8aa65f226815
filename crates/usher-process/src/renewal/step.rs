//! The steps of a snapshot and of a put-back, and how tests make one of them fail.
//!
//! Deliberately absent: anything that a running platform would use.

use parking_lot::Mutex;

/// A step, named by what is done in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The snapshot: all threads are stopped.
    TakeStop,
    /// The snapshot: the place from which calls are made comes into the program.
    TakeAgent,
    /// The snapshot: registers are read.
    TakeRegisters,
    /// The snapshot: memory becomes an image.
    TakeMemory,
    /// The snapshot: kernel state is read.
    TakeKernel,
    /// The snapshot: the program goes on.
    TakeResume,
    /// All threads are stopped.
    Stop,
    /// Threads that a run left behind end.
    Threads,
    /// What differs in the kernel is looked for.
    KernelPlan,
    /// What differs in memory is looked for, and copied.
    MemoryPlan,
    /// Calls are made inside the program.
    Batch,
    /// Its pages are exchanged, if its memory is swapped.
    Swap,
    /// What the calls came to is looked at.
    Done,
    /// Registers are put back.
    Registers,
    /// The program goes on.
    Resume,
    /// A clone: it has executed the file, and has run nothing.
    CloneExecuted,
    /// A clone: its memory is made.
    CloneMemory,
    /// A clone: its kernel state is made.
    CloneKernel,
    /// A clone: it was looked at.
    CloneTaken,
    /// A clone goes on.
    CloneResume,
}

impl Step {
    /// Those of a clone, in their order.
    pub const CLONE: [Self; 5] = [
        Self::CloneExecuted,
        Self::CloneMemory,
        Self::CloneKernel,
        Self::CloneTaken,
        Self::CloneResume,
    ];

    /// Those of a snapshot and of a put-back, in their order.
    pub const ALL: [Self; 15] = [
        Self::TakeStop,
        Self::TakeAgent,
        Self::TakeRegisters,
        Self::TakeMemory,
        Self::TakeKernel,
        Self::TakeResume,
        Self::Stop,
        Self::Threads,
        Self::KernelPlan,
        Self::MemoryPlan,
        Self::Batch,
        Self::Swap,
        Self::Done,
        Self::Registers,
        Self::Resume,
    ];
}

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The step fails.
    Fail,
    /// This process dies in it.
    Abort,
    /// The step is told to be done, and is not: memory that was to be swapped is put back where it
    /// is. Only [`Step::Swap`] can be skipped.
    Skip,
    /// The step leaves a wrong byte in memory. Only [`Step::Swap`] can be spoilt, whether memory is
    /// swapped or not.
    Spoil,
}

/// A step was made to fail.
#[derive(Debug, thiserror::Error)]
#[error("the step {0:?} was made to fail")]
pub(crate) struct MadeToFail(Step);

/// What is injected where, if anything.
#[derive(Debug, Default)]
pub(crate) struct Injected(Mutex<Option<(Step, Injection)>>);

impl Injected {
    /// From now on.
    pub(crate) fn set(&self, what: Option<(Step, Injection)>) {
        *self.0.lock() = what;
    }

    /// Whether this is to happen at a step that sees to it itself.
    pub(crate) fn is(&self, step: Step, what: Injection) -> bool {
        *self.0.lock() == Some((step, what))
    }

    /// To be called where a step ends, so that what it did is there.
    pub(crate) fn after(&self, step: Step) -> Result<(), MadeToFail> {
        match *self.0.lock() {
            Some((at, Injection::Fail)) if at == step => Err(MadeToFail(step)),
            Some((at, Injection::Abort)) if at == step => std::process::abort(),
            _ => Ok(()),
        }
    }
}

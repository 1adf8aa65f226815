//! Calls that the program's own filter would not let it make.
//!
//! The kernel leaves the filters of a traced thread out where its tracer asks for that
//! (`PTRACE_O_SUSPEND_SECCOMP`). So nothing is permitted to programs for our sake, and there is no
//! mark on a call that a program could imitate. Only the main thread is meant, only while all
//! threads are stopped, and only while it runs the agent's text; a tracer that goes away takes the
//! program along.
//!
//! Another process may have the program's memory as well as its threads, and would write the calls
//! that are made so: whoever wants them made must know that there is none ([`Alone`]). Deliberately
//! absent: which calls those are.

use super::Stopped;
use super::agent::Agent;
use super::batch::{Answers, Batch};
use super::errors::InjectError;
use super::patience::asked;
use crate::sys::trace;

/// Nobody has the stopped program's memory besides its threads, and nobody can get it.
#[derive(Debug)]
pub(crate) struct Alone(());

impl Alone {
    /// Whoever calls this has seen, while all threads of the program were stopped, that there is no
    /// other process in its sandbox but the first one, which is the platform's.
    pub(crate) fn seen() -> Self {
        Self(())
    }
}

impl Stopped {
    /// The same as [`Stopped::run`], past the program's filter.
    ///
    /// # Errors
    ///
    /// Also where the platform may not do that: it needs the rights of an administrator, and must
    /// have no filter of its own.
    pub(crate) fn run_unfiltered(
        &mut self,
        agent: &Agent,
        batch: &Batch,
        _: &Alone,
    ) -> Result<Answers, InjectError> {
        let main = self.pid();
        asked("lift the filter", main, trace::pass_filters(main, true))?;
        let answers = self.run(agent, batch)?;
        asked(
            "lay the filter again",
            main,
            trace::pass_filters(main, false),
        )?;
        Ok(answers)
    }
}

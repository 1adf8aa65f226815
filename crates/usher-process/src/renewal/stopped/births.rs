//! Ending the threads that a program has started since its snapshot.

use super::agent::Agent;
use super::errors::InjectError;
use super::patience::{Patience, asked};
use super::{Registers, Stopped, Tid};
use crate::sys::trace::{self, Status};

/// How long all of them may take to end.
const END_MAX_MS: u64 = 2000;

impl Stopped {
    /// Ends the threads that `kept` does not know; returns how many. Before memory is put back,
    /// which the end of a thread may still write to. An error if one of `kept`'s threads is
    /// missing.
    pub(crate) fn end_new_threads(
        &mut self,
        agent: &Agent,
        kept: &Registers,
    ) -> Result<usize, InjectError> {
        let mut kept_threads = kept.threads();
        if let Some(thread) = kept_threads.find(|thread| !self.threads.contains(thread)) {
            return Err(InjectError::Lost { thread });
        }
        let new = self.threads.iter().copied();
        let new: Vec<Tid> = new.filter(|thread| !kept.has(*thread)).collect();
        if new.is_empty() {
            return Ok(0);
        }
        self.ready(agent)?;
        for thread in &new {
            self.send_off(*thread, agent)?;
        }
        let patience = Patience::new(END_MAX_MS);
        for thread in &new {
            match patience.wait(*thread)? {
                Status::Ended => self.threads.retain(|kept| kept != thread),
                status => {
                    return Err(InjectError::Stays {
                        thread: *thread,
                        status,
                    });
                }
            }
        }
        let listed = self.entry.threads().map_err(InjectError::List)?;
        match listed.iter().find(|thread| !kept.has(**thread)) {
            // All others are stopped, so nobody can have started one.
            Some(thread) => Err(InjectError::Foreign { thread: *thread }),
            None => Ok(new.len()),
        }
    }

    /// Lets a thread call `exit`, which ends it alone and runs nothing of the program's.
    pub(super) fn send_off(&mut self, thread: Tid, agent: &Agent) -> Result<(), InjectError> {
        let home = self.leave_home(thread)?;
        let frame = home.frame.calling(agent.syscall(), libc::SYS_exit, [0; 6]);
        asked(
            "set the registers",
            thread,
            trace::set_general(thread, frame.0),
        )?;
        asked("end the run", thread, trace::go_on(thread, 0))?;
        self.forget_home(thread);
        Ok(())
    }
}

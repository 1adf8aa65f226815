//! Making the program copy bytes from one of its addresses to another.
//!
//! ```text
//!  check mappings and text ─┬► table ─► registers ─► run to the int3 ─┐
//!                           └─────── as long as copies are left ◄─────┘
//! ```
//!
//! The kernel looks up every page that it writes into another process; the processor does so for
//! the process itself, and much faster. What cannot be copied raises a signal that ends the round.
//! Deliberately absent: what is at the addresses, of which the caller must be sure.

use super::agent::{Agent, PAGE_BYTES};
use super::errors::InjectError;
use super::home::frame_of;
use super::patience::{Patience, asked};
use super::{Stopped, Tid};
use crate::sys::trace::{self, Status};

/// How long one round may take.
const COPY_MAX_MS: u64 = 10_000;
/// One entry of the table: where to, where from, how many bytes.
const ENTRY_BYTES: usize = 24;
/// Entries of one round: no more than the pages have room for that usual batches use anyway.
const ENTRIES_MAX: usize = 4 * PAGE_BYTES / ENTRY_BYTES;

/// Bytes that are copied within a program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Transfer {
    /// Where they go.
    pub(crate) to: u64,
    /// Where they are.
    pub(crate) from: u64,
    /// How many.
    pub(crate) bytes: u64,
}

impl Stopped {
    /// Lets the main thread make these copies, in their order. Whoever asks knows that the bytes to
    /// be copied are what they should be, whatever the program has done.
    ///
    /// # Errors
    ///
    /// If it stops anywhere else than behind the last one, as after a fault. Some may be made then.
    pub(crate) fn copy(&mut self, agent: &Agent, copies: &[Transfer]) -> Result<(), InjectError> {
        self.ready(agent)?;
        let mut table = Vec::with_capacity(copies.len().min(ENTRIES_MAX) * ENTRY_BYTES);
        for copies in copies.chunks(ENTRIES_MAX) {
            table.clear();
            for copy in copies {
                for word in [copy.to, copy.from, copy.bytes] {
                    table.extend_from_slice(&word.to_ne_bytes());
                }
            }
            self.put_bytes(agent.data().start, &table)?;
            self.uses(table.len());
            self.copy_round(self.pid, agent, copies.len() as u64)?;
        }
        Ok(())
    }

    /// Lets a thread make the copies that are in the agent's data.
    fn copy_round(&mut self, thread: Tid, agent: &Agent, copies: u64) -> Result<(), InjectError> {
        let table = agent.data().start;
        let home = self.leave_home(thread)?;
        let frame = home.frame.running(agent.copy(), table, 0, copies);
        let set = trace::set_general(thread, frame.0);
        asked("set the registers", thread, set)?;
        asked("make copies", thread, trace::go_on(thread, 0))?;
        let status = Patience::new(COPY_MAX_MS).wait(thread)?;
        self.still_there(thread, status)?;
        let after = frame_of(thread)?;
        let end = table + copies * ENTRY_BYTES as u64;
        if status == Status::Signal(libc::SIGTRAP)
            && after.progress() == [agent.copied(), end, 0, 0]
        {
            return Ok(());
        }
        let [at, .., left] = after.progress();
        Err(InjectError::Uncopied { status, at, left })
    }
}

//! A connection of the snapshot whose number the run has closed, or used for another file, gets its
//! number back.
//!
//! Our duplicate has kept the connection open, so that the other side has noticed nothing, and what
//! is given is the very open file description of the snapshot: its options, its places in epoll
//! sets and its locks are still there, and are looked at afterwards like those of all others.
//! Lambda's Python client needs it, which closes its connection when it was restored. Deliberately
//! absent: other kinds of files, whose closing may have told somebody something.

use std::os::fd::{AsFd as _, OwnedFd, RawFd};

use super::errors::Leftover;
use crate::renewal::memory::handover;
use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};

/// Connections that are given back in one renewal: each costs several calls of the program.
pub(super) const GIVEN_MAX: usize = 16;

/// Gives the program `file` under `number`, whatever is there now.
pub(super) fn give(
    stopped: &mut Stopped,
    agent: &Agent,
    number: RawFd,
    file: &OwnedFd,
) -> Result<(), Leftover> {
    let given = handover::give(stopped, agent, file.as_fd());
    let given = given.map_err(|source| Leftover::NotGiven {
        number,
        source: Box::new(source),
    })?;
    if given == number {
        return Ok(());
    }
    let mut batch = Batch::new();
    let moved = [given.into(), number.into(), libc::O_CLOEXEC.into()];
    let done = Expect::Value(number.into());
    batch.call(Call::new(libc::SYS_dup3, moved), done);
    batch.call(Call::new(libc::SYS_close, [given.into()]), Expect::Value(0));
    stopped.run(agent, &batch)?;
    Ok(())
}

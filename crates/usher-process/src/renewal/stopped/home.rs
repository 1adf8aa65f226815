//! Where a thread was before it made calls for us, and the way back.

use super::errors::TraceError;
use super::frame::{Frame, Waited};
use super::patience::asked;
use super::{Stopped, Tid};
use crate::sys::trace::{self, Queue};

/// All signals but the one that ends our calls: the kernel would take its handler from a thread
/// that holds it back. (One that ignores it loses that, which no sane program would notice.)
const HELD_BACK: u64 = !(1 << (libc::SIGTRAP - 1));
/// Where in its area of restartable sequences a thread says which of them it is in.
const SEQUENCE_AT: u64 = 8;

/// What a thread had in its registers, and which signals it held back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    thread: Tid,
    pub(super) frame: Frame,
    pub(super) mask: u64,
    /// The address and the value of the word that says in which restartable sequence it was.
    sequence: Option<(u64, [u8; 8])>,
}

impl Home {
    /// Where a thread is put, which is in no sequence then: the word that says so is memory.
    pub(super) fn ahead(thread: Tid, frame: Frame, mask: u64) -> Self {
        Self {
            thread,
            frame,
            mask,
            sequence: None,
        }
    }
}

impl Stopped {
    /// Takes a thread away from where it is, with all signals held back until it is home again, so
    /// that none of the program's handlers runs among our calls.
    pub(super) fn leave_home(&mut self, thread: Tid) -> Result<Home, TraceError> {
        if let Some(home) = self.home_of(thread) {
            return Ok(*home);
        }
        let ahead = self.ahead.iter().find(|home| home.thread == thread);
        let home = match ahead {
            Some(home) => *home,
            None => self.here(thread)?,
        };
        asked(
            "hold back signals",
            thread,
            trace::set_mask(thread, HELD_BACK),
        )?;
        self.homes.push(home);
        Ok(home)
    }

    /// Where a thread is, to be found there again.
    fn here(&self, thread: Tid) -> Result<Home, TraceError> {
        let frame = frame_of(thread)?;
        Ok(Home {
            thread,
            frame,
            mask: asked("read the signal mask", thread, trace::mask(thread))?,
            sequence: match frame.waited() {
                // No call may be made in a sequence.
                Waited::Again | Waited::Interrupted => None,
                Waited::No => self.sequence(thread)?,
            },
        })
    }

    pub(super) fn home_of(&self, thread: Tid) -> Option<&Home> {
        self.homes.iter().find(|home| home.thread == thread)
    }

    /// Forgets where a thread was.
    pub(super) fn forget_home(&mut self, thread: Tid) {
        self.homes.retain(|home| home.thread != thread);
    }

    /// All threads that were taken away back to where they were.
    pub(super) fn go_home(&mut self) -> Result<(), TraceError> {
        for home in &self.homes {
            let thread = home.thread;
            let put = trace::set_general(thread, home.frame.0);
            asked("put back registers", thread, put)?;
            let put = trace::set_mask(thread, home.mask);
            asked("put back the signal mask", thread, put)?;
            // The kernel has cleared the word when it found the thread elsewhere. It has to find
            // it again, to see that the sequence was interrupted.
            if let Some((address, word)) = home.sequence {
                asked("put back a word", thread, self.write(address, &word))?;
            }
        }
        self.homes.clear();
        Ok(())
    }

    fn sequence(&self, thread: Tid) -> Result<Option<(u64, [u8; 8])>, TraceError> {
        let sequences = trace::sequences(thread);
        let [area, ..] = asked("read the restartable sequences", thread, sequences)?;
        if area == 0 {
            return Ok(None);
        }
        let address = area.wrapping_add(SEQUENCE_AT);
        let mut word = [0; 8];
        // A thread that has no memory there is in no sequence.
        let read = self.read(address, &mut word).is_ok();
        Ok((read && word != [0; 8]).then_some((address, word)))
    }

    /// Lets `thread` make the call again that our stop has ended, where the kernel would not.
    pub(super) fn mend(&self, thread: Tid) -> Result<(), TraceError> {
        let frame = frame_of(thread)?;
        if frame.waited() != Waited::Interrupted {
            return Ok(());
        }
        let mask = asked("read the signal mask", thread, trace::mask(thread))?;
        let mut pending = 0;
        for queue in [Queue::Thread, Queue::Process] {
            let waiting = trace::pending(thread, queue);
            pending |= asked("read pending signals", thread, waiting)?;
        }
        // A signal that is to be delivered has a right to end the call.
        if pending & !mask != 0 {
            return Ok(());
        }
        let put = trace::set_general(thread, frame.normalised().0);
        asked("put back registers", thread, put)?;
        // Some calls wait under a mask of their own, which ends here: a signal must find the thread
        // in the call that is made again, and not before it.
        let put = trace::set_mask(thread, mask);
        asked("put back the signal mask", thread, put)
    }
}

/// The general registers of a thread, as they are now.
pub(super) fn frame_of(thread: Tid) -> Result<Frame, TraceError> {
    asked("read the registers", thread, trace::general(thread)).map(Frame)
}

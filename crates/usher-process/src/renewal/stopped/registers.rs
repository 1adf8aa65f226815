//! What the processor and the kernel hold for each thread, taken and put back.
//!
//! Put back are the general, floating point and vector registers, the bases of thread-local storage
//! and the mask of signals. The kernel's pointers into the thread's memory (robust locks,
//! restartable sequences) stay as they are, since that memory is put back; who looks at what the
//! kernel keeps for each thread sees whether they were moved. Hardware breakpoints and shadow
//! stacks are looked for when registers are read, and not each time: no program can have either by
//! itself under our filter. Where a thread's number is cleared when it ends (`set_tid_address`)
//! cannot be read from outside.

use std::fmt;

use super::errors::{RegisterError, TraceError};
use super::frame::{Frame, SYSCALL, Waited};
use super::home::{Home, frame_of};
use super::patience::asked;
use super::{Stopped, Tid};
use crate::sys::trace;

/// The registers of all threads of a program, as they are to be put back.
#[derive(Clone, Debug)]
pub(crate) struct Registers {
    threads: Vec<Kept>,
    busy: Option<Tid>,
}

#[derive(Clone, Eq, PartialEq)]
struct Kept {
    thread: Tid,
    frame: Frame,
    extended: Vec<u8>,
    mask: u64,
    robust_list: u64,
    sequences: [u64; 3],
}

/// What registers hold is the program's, and nobody's to print.
impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kept = f.debug_struct("Kept");
        kept.field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Registers {
    /// The threads, the main thread first.
    pub(crate) fn threads(&self) -> impl Iterator<Item = Tid> {
        self.threads.iter().map(|kept| kept.thread)
    }

    /// Whether `thread` is one of them.
    pub(crate) fn has(&self, thread: Tid) -> bool {
        self.threads().any(|kept| kept == thread)
    }

    /// The same for the threads of another program, each of which is named beside one of these;
    /// `None` if one is missing.
    pub(crate) fn renumbered(&self, threads: &[(Tid, Tid)]) -> Option<Self> {
        let renumbered = self.threads.iter().map(|kept| {
            let mut other = threads.iter().filter(|(then, _)| *then == kept.thread);
            let (_, thread) = *other.next()?;
            Some(Kept {
                thread,
                ..kept.clone()
            })
        });
        Some(Self {
            threads: renumbered.collect::<Option<_>>()?,
            busy: None,
        })
    }

    /// A thread that did not wait in a call when these were read: the program was not quiet.
    pub(crate) fn busy(&self) -> Option<Tid> {
        self.busy
    }

    /// A thread that is only in one of the two, or not the same in both.
    pub(crate) fn difference(&self, other: &Self) -> Option<Tid> {
        let only = |these: &Self, those: &Self| {
            let mut differing = these
                .threads
                .iter()
                .filter(|kept| !those.threads.contains(kept));
            differing.next().map(|kept| kept.thread)
        };
        only(self, other).or_else(|| only(other, self))
    }
}

impl Stopped {
    /// The registers of all threads, so that a call that waited will be made again.
    pub(crate) fn registers(&self) -> Result<Registers, RegisterError> {
        let mut threads = Vec::with_capacity(self.threads.len());
        let mut busy = None;
        for thread in &self.threads {
            let (kept, waited) = self.keep(*thread)?;
            threads.push(kept);
            busy = busy.or_else(|| (!waited).then_some(*thread));
        }
        Ok(Registers { threads, busy })
    }

    /// The program will be put back to `kept`, or killed. So where its threads are now, and which
    /// signals they hold back, is not asked when they make calls: that will be lost anyway. It
    /// cannot be resumed without [`Self::put_registers`] any more.
    pub(crate) fn goes_back_to(&mut self, kept: &Registers) {
        let ahead = kept.threads.iter();
        let ahead = ahead.map(|one| Home::ahead(one.thread, one.frame, one.mask));
        self.ahead = ahead.collect();
    }

    /// Gives every thread the registers it had. The threads must be the same.
    pub(crate) fn put_registers(&mut self, kept: &Registers) -> Result<(), RegisterError> {
        let new = self
            .threads
            .iter()
            .copied()
            .find(|thread| !kept.has(*thread));
        let mut gone = kept
            .threads()
            .filter(|thread| !self.threads.contains(thread));
        if let Some(thread) = new.or_else(|| gone.next()) {
            return Err(RegisterError::Threads { thread });
        }
        for one in &kept.threads {
            let thread = one.thread;
            let general = trace::set_general(thread, one.frame.0);
            asked("put back the registers", thread, general)?;
            self.put_extended(one)?;
            let mask = trace::set_mask(thread, one.mask);
            asked("put back the signal mask", thread, mask)?;
        }
        self.homes.clear();
        self.put = true;
        Ok(())
    }

    /// To look is cheaper than to set, and most threads but the main one have done nothing.
    fn put_extended(&self, one: &Kept) -> Result<(), TraceError> {
        let thread = one.thread;
        if thread != self.pid {
            let has = trace::has_extended(thread, &one.extended);
            if asked("read the extended registers", thread, has)? {
                return Ok(());
            }
        }
        let set = trace::set_extended(thread, &one.extended);
        asked("put back the extended registers", thread, set)
    }

    /// What is to be kept of a thread, and whether it waited in a call.
    fn keep(&self, thread: Tid) -> Result<(Kept, bool), RegisterError> {
        usual(thread)?;
        let (frame, mask) = match self.home_of(thread) {
            Some(home) => (home.frame, home.mask),
            None => {
                let mask = asked("read the signal mask", thread, trace::mask(thread))?;
                (frame_of(thread)?, mask)
            }
        };
        if !frame.wide() {
            let why = "does not run 64-bit code";
            return Err(RegisterError::Thread { thread, why });
        }
        let waited = frame.waited() != Waited::No;
        let frame = frame.normalised();
        if waited && !self.calls_at(frame.next()) {
            let why = "waits in a call that it has not made in the usual way";
            return Err(RegisterError::Thread { thread, why });
        }
        let [robust_list, sequences @ ..] = places(thread)?;
        let extended = trace::extended(thread);
        let kept = Kept {
            thread,
            frame,
            extended: asked("read the extended registers", thread, extended)?,
            mask,
            robust_list,
            sequences,
        };
        Ok((kept, waited))
    }

    fn calls_at(&self, address: u64) -> bool {
        let mut bytes = [0; SYSCALL.len()];
        self.read(address, &mut bytes).is_ok() && bytes == SYSCALL
    }
}

/// A program can have neither of these by itself under our filter, or only on new processors.
fn usual(thread: Tid) -> Result<(), RegisterError> {
    let debug = trace::debug_control(thread);
    let debug = asked("read the debug registers", thread, debug)?;
    let why = match debug {
        0 if trace::has_shadow_stack(thread) => "has a shadow stack",
        0 => return Ok(()),
        _ => "has hardware breakpoints",
    };
    Err(RegisterError::Thread { thread, why })
}

/// Where the kernel was told to find things of a thread.
fn places(thread: Tid) -> Result<[u64; 4], TraceError> {
    let list = trace::robust_list(thread);
    let list = asked("read the list of robust locks", thread, list)?;
    let sequences = trace::sequences(thread);
    let [at, rest @ ..] = asked("read the restartable sequences", thread, sequences)?;
    let [len, flags] = rest;
    Ok([list, at, len, flags])
}

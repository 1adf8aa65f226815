//! What the kernel holds for another process, made like what it held for one at its snapshot.
//!
//! ```text
//! derived of a snapshot ─► the clone's own calls ─► set from outside ─► derived of the clone's
//!          └──────────────────────────── must be equal ──────────────────────────────┘
//! ```
//!
//! Only what is known to be made again is: anything else means that there is no pattern, with the
//! reason. Deliberately absent: memory and registers; scratch, which must have been empty.

mod wanted;

use std::io;
use std::os::fd::RawFd;

use thiserror::Error;

use self::wanted::Wanted;
use super::Kernel;
use super::errors::{About as _, Leftover};
use super::proc::{Proc, field};
use super::process::Settings;
use super::signals::Signals;
use super::threads::Only;
use crate::renewal::stopped::{Agent, Batch, Stopped};

/// Why other processes cannot be given such a state.
#[derive(Debug, Error)]
pub(crate) enum NoPattern {
    /// A descriptor that is not made again.
    #[error("its descriptor {number} {what}")]
    Descriptor {
        /// Its number in the program.
        number: RawFd,
        /// What it is, or does.
        what: String,
    },
    /// Something else.
    #[error("it {0}")]
    State(&'static str),
    /// A piece of state could not be read.
    #[error("its state could not be read")]
    Unread(#[source] io::Error),
}

impl From<io::Error> for NoPattern {
    fn from(error: io::Error) -> Self {
        Self::Unread(error)
    }
}

impl From<rustix::io::Errno> for NoPattern {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Unread(error.into())
    }
}

/// A descriptor that every program gets at its start, and the file that this one got.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Given {
    /// Its number.
    pub(crate) number: RawFd,
    /// Device and number of the file.
    pub(crate) file: (u64, u64),
}

/// What is needed to make the kernel's state of a process like that of a snapshot. Two are equal if
/// a program cannot tell them apart.
#[derive(Debug, PartialEq)]
pub(crate) struct Pattern {
    signals: Signals,
    process: Settings,
    thread: Only,
    descriptors: Vec<Wanted>,
    /// The program's number, as it sees it.
    number: String,
}

impl Kernel {
    /// The pattern of the stopped program, while nothing has changed since the snapshot.
    pub(crate) fn pattern(&self, given: &[Given]) -> Result<Pattern, NoPattern> {
        let thread = self.threads.only();
        let thread = thread.ok_or(NoPattern::State("has more than one thread"))?;
        if !has_one_user(&self.proc)? {
            return Err(NoPattern::State("sees a user that no other one sees"));
        }
        if !self.timers.are_idle() {
            return Err(NoPattern::State("has a timer that runs"));
        }
        if !self.scratch.iter().all(super::Scratch::is_empty) {
            return Err(NoPattern::State("has files of its own"));
        }
        Ok(Pattern {
            signals: self.signals.clone(),
            process: self.process.settings().map_err(NoPattern::State)?,
            thread,
            descriptors: wanted::all(&self.proc, &self.descriptors, given)?,
            number: own_number(&self.proc)?,
        })
    }
}

impl Pattern {
    /// Makes the state of a program that was executed and has run nothing, and whose memory was
    /// made. Its calls must pass by its filters.
    pub(crate) fn fill(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Leftover> {
        let pid = stopped.pid();
        let proc = Proc::open(pid).putting("the program's entry in /proc")?;
        if own_number(&proc).ok().as_ref() != Some(&self.number) {
            return Err(Leftover::State("the program has another number"));
        }
        let mut batch = Batch::new();
        self.signals.plan(stopped, &mut batch)?;
        self.process.plan(&mut batch)?;
        self.thread.plan(&mut batch)?;
        let open = proc.descriptors().putting("the list of descriptors")?;
        wanted::make(&self.descriptors, open, &mut batch)?;
        stopped.run(agent, &batch)?;
        self.process.put(pid)?;
        self.thread.put(pid)?;
        wanted::put(&self.descriptors, &proc)?;
        let mut batch = Batch::new();
        wanted::connect(&self.descriptors, &mut batch)?;
        stopped.run(agent, &batch)?;
        Ok(())
    }

    /// The first piece in which two of them differ.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        fn differs<T: PartialEq + std::fmt::Debug>(one: &T, other: &T) -> Option<String> {
            (one != other).then(|| format!("was {one:?}, is {other:?}"))
        }
        differs(&self.descriptors, &other.descriptors)
            .or_else(|| differs(&self.process, &other.process))
            .or_else(|| differs(&self.thread, &other.thread))
            .or_else(|| differs(&self.number, &other.number))
            .or_else(|| differs(&self.signals, &other.signals))
    }

    /// How many connections to the Runtime API it has.
    pub(crate) fn connections(&self) -> usize {
        let all = self.descriptors.iter();
        all.filter(|one| one.is_connection()).count()
    }
}

/// Whether its user namespace has one user, by the same number in all sandboxes.
fn has_one_user(proc: &Proc) -> io::Result<bool> {
    let map = proc.text("uid_map")?;
    Ok(map.split_whitespace().nth(2) == Some("1"))
}

fn own_number(proc: &Proc) -> io::Result<String> {
    let status = proc.text("status")?;
    let numbers = field(&status, "NSpid").and_then(|all| all.split_whitespace().last());
    let number = numbers.map(str::to_owned);
    number.ok_or_else(|| io::Error::other("its own number is not told"))
}


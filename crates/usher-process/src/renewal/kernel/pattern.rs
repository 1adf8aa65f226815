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
use super::proc::Proc;
use super::process::Settings;
use super::signals::Signals;
use super::threads::Held;
use crate::renewal::stopped::{Agent, Batch, Stopped, Tid, number};

/// The highest number that a thread may have, as its program sees it: for each below it that is
/// none of a thread one is started that ends at once.
const NUMBERS_MAX: u32 = 256;

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

/// What is needed to make the kernel's state of a process like that of a snapshot.
#[derive(Debug)]
pub(crate) struct Pattern {
    signals: Signals,
    process: Settings,
    /// The main thread first, then by their numbers.
    threads: Vec<Thread>,
    descriptors: Vec<Wanted>,
}

/// A thread of a pattern.
#[derive(Debug)]
struct Thread {
    /// In the program of the snapshot, as the platform sees it.
    tid: Tid,
    /// Its number, as the program sees it.
    number: u32,
    held: Held,
}

impl Kernel {
    /// The pattern of the stopped program, while nothing has changed since the snapshot.
    pub(crate) fn pattern(&self, given: &[Given]) -> Result<Pattern, NoPattern> {
        let pid = self.proc.pid();
        let threads = self.threads.held().map(|(tid, held)| {
            let number = number(pid, tid)?;
            Ok(Thread { tid, number, held })
        });
        let mut threads: Vec<_> = threads.collect::<io::Result<_>>()?;
        threads.sort_by_key(|thread| (thread.tid != pid, thread.number));
        let numbers = threads.iter().map(|thread| thread.number);
        if numbers.max().unwrap_or(0) > NUMBERS_MAX || !threads.is_sorted_by_key(|it| it.number) {
            return Err(NoPattern::State("has threads of odd numbers"));
        }
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
            threads,
            descriptors: wanted::all(&self.proc, &self.descriptors, given)?,
        })
    }
}

impl Pattern {
    /// Makes the state of a program that was executed and has run nothing, and whose memory was
    /// made. Returns each thread of the snapshot's program with
    /// the one that is made like it.
    pub(crate) fn fill(
        &self,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<Vec<(Tid, Tid)>, Leftover> {
        let pid = stopped.pid();
        let proc = Proc::open(pid).putting("the program's entry in /proc")?;
        let mut batch = Batch::new();
        self.signals.plan(&mut batch)?;
        self.process.plan(&mut batch)?;
        let open = proc.descriptors().putting("the list of descriptors")?;
        wanted::make(&self.descriptors, open, &mut batch)?;
        stopped.run(agent, &batch)?;
        self.process.put(pid)?;
        wanted::put(&self.descriptors, &proc)?;
        let mut batch = Batch::new();
        wanted::connect(&self.descriptors, &mut batch)?;
        stopped.run(agent, &batch)?;
        self.start(stopped, agent)
    }

    /// Starts the threads, and gives each what it has of its own.
    fn start(&self, stopped: &mut Stopped, agent: &Agent) -> Result<Vec<(Tid, Tid)>, Leftover> {
        let pid = stopped.pid();
        let own = number(pid, pid).putting("the program's number")?;
        let (main, others) = match self.threads.split_first() {
            Some((main, others)) if main.number == own => (main, others),
            _ => return Err(Leftover::State("the program has another number")),
        };
        let numbers: Vec<_> = others.iter().map(|thread| thread.number).collect();
        let started = stopped.start_threads(agent, own, &numbers)?;
        let all = others.iter().zip(started);
        let all: Vec<_> = [(main, pid)].into_iter().chain(all).collect();
        for (thread, tid) in &all {
            let mut batch = Batch::new();
            thread.held.plan(&mut batch)?;
            stopped.run_by(*tid, agent, &batch)?;
            thread.held.put(*tid)?;
        }
        Ok(all.iter().map(|(thread, tid)| (thread.tid, *tid)).collect())
    }

    /// The first piece in which two of them differ.
    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        fn differs<T: PartialEq + std::fmt::Debug>(one: &T, other: &T) -> Option<String> {
            (one != other).then(|| format!("was {one:?}, is {other:?}"))
        }
        let threads = |these: &Self| {
            let all = these.threads.iter();
            all.map(|it| (it.number, it.held.clone()))
                .collect::<Vec<_>>()
        };
        differs(&self.descriptors, &other.descriptors)
            .or_else(|| differs(&self.process, &other.process))
            .or_else(|| differs(&threads(self), &threads(other)))
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

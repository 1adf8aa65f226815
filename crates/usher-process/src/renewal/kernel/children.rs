//! Processes that a run has left behind: there must be none, alive or dead.
//!
//! Deliberately absent: ending them. A child may share memory and descriptors, and has seen the
//! request; the sandbox is ended with all that is in it.

use crate::renewal::stopped::Stopped;

use super::Surroundings;
use super::errors::{About as _, Difference, Leftover, TakeError, same};
use super::proc::{Proc, Text};

/// How they are counted.
#[derive(Debug)]
pub(super) enum Children {
    /// The group of the sandbox counts its tasks, those besides the program's being so many.
    Counted {
        /// The group's count.
        tasks: Text,
        /// The sandbox's first process.
        others: u64,
    },
    /// The lists of children of all threads and of the sandbox's first process.
    Listed {
        /// That process, if there is one, and how many children it has: the program.
        first: Option<Text>,
    },
}

impl Children {
    pub(super) fn take(
        proc: &Proc,
        stopped: &Stopped,
        surroundings: &Surroundings,
    ) -> Result<Self, TakeError> {
        let what = "the list of processes";
        let others = u64::from(surroundings.first.is_some());
        let children = match &surroundings.group {
            Some(group) => {
                let tasks = std::fs::File::open(group.join("pids.current")).taking(what)?;
                let tasks = Text::from(tasks);
                Self::Counted { tasks, others }
            }
            None => {
                let first = surroundings.first.map(|first| {
                    let first = first.as_raw_nonzero();
                    std::fs::File::open(format!("/proc/{first}/task/{first}/children"))
                });
                let first = first.transpose().taking(what)?.map(Text::from);
                Self::Listed { first }
            }
        };
        match children.check(proc, stopped) {
            Ok(()) => Ok(children),
            Err(other) => Err(TakeError::State(format!("has children: {other}"))),
        }
    }

    /// Whether there is nobody but the program and the sandbox's first process. New threads of the
    /// program must have ended by then.
    pub(super) fn check(&self, proc: &Proc, stopped: &Stopped) -> Result<(), Leftover> {
        let what = "the list of processes";
        let threads = stopped.threads().len() as u64;
        let (found, expected) = match self {
            Self::Counted { tasks, others } => {
                let text = tasks.read().putting(what)?;
                let counted: Result<u64, _> = text.trim().parse();
                let found = counted.map_err(std::io::Error::other).putting(what)?;
                (found, threads + others)
            }
            Self::Listed { first } => {
                let mut found = 0;
                for thread in stopped.threads() {
                    let path = format!("task/{}/children", thread.as_raw_nonzero());
                    found += listed(&proc.text(&path).putting(what)?);
                }
                if let Some(first) = first {
                    found += listed(&first.read().putting(what)?);
                }
                (found, u64::from(first.is_some()))
            }
        };
        if found == expected {
            Ok(())
        } else {
            Err(Leftover::Children { found, expected })
        }
    }

    /// The other way of counting, as far as it is there.
    pub(super) fn compare(&self, proc: &Proc, stopped: &Stopped) -> Result<(), Difference> {
        let mut found = Vec::new();
        for thread in stopped.threads() {
            let path = format!("task/{}/children", thread.as_raw_nonzero());
            found.push(listed(&proc.text(&path).comparing("children")?));
        }
        same("children", &0, &found.iter().sum::<u64>())
    }
}

fn listed(children: &str) -> u64 {
    children.split_whitespace().count() as u64
}

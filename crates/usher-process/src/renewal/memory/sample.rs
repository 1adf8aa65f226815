//! Where some pages of a program were in the run before, and whether they are elsewhere now.
//!
//! The first page is the platform's own ([`super::canary`]), which each swap moves; the others are
//! of those that the run has written. Deliberately absent: what follows if they are not.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::process::Pid;
use usher_core::area::{NotMoved, Place, moved};
use usher_core::renewal::runs::Span;

use crate::sys::pages::PageMap;

/// Pages of the program's in a sample.
const PAGES_MAX: usize = 7;

/// It cannot be shown that a program's pages are where they must be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undetermined {
    /// They are not.
    #[error(transparent)]
    NotMoved(#[from] NotMoved),
    /// They are on another device.
    #[error("the program's memory is not in the area that it was shown")]
    Elsewhere,
    /// What the kernel tells of the program's memory cannot be read.
    #[error("where the program's pages are could not be read")]
    Unread(#[from] io::Error),
    /// There is no run before.
    #[error("nothing was swapped")]
    Nothing,
}

/// Some pages, and where they were.
#[derive(Debug)]
pub(super) struct Sample {
    pages: Vec<u64>,
    former: Vec<Place>,
}

impl Sample {
    /// Notes where pages are that are about to move: the platform's, and some of `runs`.
    pub(super) fn of(ours: u64, runs: &[Span], map: &PageMap) -> io::Result<Self> {
        let others = runs.iter().map(|run| run.start).filter(|at| *at != ours);
        let others = others.step_by(runs.len() / PAGES_MAX + 1);
        let pages: Vec<_> = [ours].into_iter().chain(others).collect();
        let former = pages.iter().map(|at| map.place(*at));
        Ok(Self {
            former: former.collect::<io::Result<_>>()?,
            pages,
        })
    }

    /// Reads where they are now.
    pub(super) fn determine(&self, program: Pid, map: &PageMap) -> Result<(), Undetermined> {
        let read = || {
            let places = self.pages.iter().map(|at| map.place(*at));
            places.collect::<io::Result<Vec<_>>>()
        };
        match moved(&self.former, &read()?) {
            Err(NotMoved::Nowhere) => {}
            told => return Ok(told?),
        }
        // It may have been swapped out. To read it brings it back.
        if let Some(ours) = self.pages.first() {
            let memory = File::open(format!("/proc/{}/mem", program.as_raw_nonzero()))?;
            memory.read_exact_at(&mut [0], *ours)?;
        }
        Ok(moved(&self.former, &read()?)?)
    }
}

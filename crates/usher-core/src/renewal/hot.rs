//! Which changed pages are copied back, and which are dropped so that the next use of them shows
//! the clean image again.
//!
//! ```text
//!            changed                 changed, and there is room
//!  cold ───────────────► seen once ───────────────────────────► hot
//!    ▲ drop                  ▲ drop                               │ copy
//!    │ not changed           └──────── its turn came ─────────────┘ drop
//!    └── (stays as it is)
//! ```
//!
//! To copy is dearer than to drop, but a dropped page costs the next run a fault, and that is
//! dearer still. A page that is copied back stays private, so it looks changed for ever; hence
//! every hot page is dropped once in [`TURNS`] rounds, and becomes hot again only if it was really
//! changed after that. The turns are spread over the rounds, so that no round pays for all.
//!
//! Deliberately absent: where a page is; pages are numbers from 0 on.

/// Rounds within which every hot page is dropped once.
pub const TURNS: u64 = 64;
/// Pages side by side that have their turn together, so that copies and drops stay in few pieces.
const BLOCK: usize = 16;
/// Sightings after which a page is hot.
const SIGHTINGS: u8 = 2;
/// Noted in the place of sightings for a page that is never dropped.
const PINNED: u8 = u8::MAX;

/// What is done about a page that is not as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Then {
    /// Write the clean bytes over it.
    Copy,
    /// Take the page away; what is behind it is clean.
    Drop,
}

/// What was seen of an image's pages.
#[derive(Clone, Debug)]
pub struct Hot {
    /// How often each page was seen changed, up to [`SIGHTINGS`].
    sightings: Vec<u8>,
    hot: usize,
    hot_max: usize,
    round: u64,
}

impl Hot {
    /// Of `pages` pages none was seen. At most `hot_max` of them will be hot at a time.
    #[must_use]
    pub fn new(pages: usize, hot_max: usize) -> Self {
        Self {
            sightings: vec![0; pages],
            hot: 0,
            hot_max,
            round: 0,
        }
    }

    /// Begins to put back once more.
    pub fn begin(&mut self) {
        self.round += 1;
    }

    /// How many pages are hot.
    #[must_use]
    pub fn hot(&self) -> usize {
        self.hot
    }

    /// This page is not as it was. A number that is out of range is dropped.
    pub fn changed(&mut self, page: usize) -> Then {
        let turn = self.round % TURNS == (page / BLOCK) as u64 % TURNS;
        let Some(seen) = self.sightings.get_mut(page) else {
            return Then::Drop;
        };
        if *seen == PINNED {
            return Then::Copy;
        }
        if *seen == SIGHTINGS {
            if !turn {
                return Then::Copy;
            }
            *seen = SIGHTINGS - 1;
            self.hot -= 1;
            return Then::Drop;
        }
        if *seen + 1 == SIGHTINGS {
            if self.hot == self.hot_max {
                return Then::Drop;
            }
            self.hot += 1;
        }
        *seen += 1;
        match *seen == SIGHTINGS {
            true => Then::Copy,
            false => Then::Drop,
        }
    }

    /// This page is always copied and never dropped, and not counted as hot.
    pub fn pin(&mut self, page: usize) {
        if let Some(seen) = self.sightings.get_mut(page) {
            if *seen == SIGHTINGS {
                self.hot -= 1;
            }
            *seen = PINNED;
        }
    }
}

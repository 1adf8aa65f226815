//! Which pages get new frames before anybody writes to them, where frames are exchanged.
//!
//! ```text
//!            found                  found, looked at: changed
//!  cold ───────────────► seen once ──────────────────────────► warm ─┐ found: new frame
//!    ▲                       │                                   │ ◄─┘
//!    └── looked at: as clean ┴─── its turn, looked at: as clean ─┘
//! ```
//!
//! Every page that a run has written gets a new frame while the used one is still held, so that no
//! page is in the same frame in two runs. A page that was given one looks written from then on;
//! whether it was is found by looking at its bytes, which costs less than a frame. So it is looked
//! at once soon, and then once in [`TURNS`] rounds.
//!
//! Deliberately absent: bytes and frames; pages are numbers, such as an address divided by the
//! size of a page.

use std::collections::HashMap;

/// Rounds within which every warm page is looked at once.
pub const TURNS: u64 = 64;
/// Pages side by side that have their turn together.
const BLOCK: u64 = 16;

/// What was seen of a program's pages.
#[derive(Clone, Debug)]
pub struct Warm {
    /// Pages that have a frame from us; true: it was found changed after that.
    pages: HashMap<u64, bool>,
    pages_max: usize,
    round: u64,
}

impl Warm {
    /// No page was seen. What was seen is forgotten when it is more than `pages_max` pages, which
    /// costs a look at each.
    #[must_use]
    pub fn new(pages_max: usize) -> Self {
        Self {
            pages: HashMap::new(),
            pages_max,
            round: 0,
        }
    }

    /// Begins another round.
    pub fn begin(&mut self) {
        self.round += 1;
        if self.pages.len() > self.pages_max {
            self.pages.clear();
        }
    }

    /// Whether this page, which looks written, may be as clean as it was, so that somebody has to
    /// look.
    #[must_use]
    pub fn is_due(&self, page: u64) -> bool {
        match self.pages.get(&page) {
            None => false,
            Some(false) => true,
            Some(true) => self.round % TURNS == page / BLOCK % TURNS,
        }
    }

    /// This page gets a new frame: it was not due, or was found changed.
    pub fn renewed(&mut self, page: u64) {
        let seen = self.pages.entry(page);
        seen.and_modify(|changed| *changed = true).or_insert(false);
    }

    /// This page was found as clean as it was, and is given up.
    pub fn left(&mut self, page: u64) {
        self.pages.remove(&page);
    }

    /// How many pages have a frame from us, as far as is known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }
}

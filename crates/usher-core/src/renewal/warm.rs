//! Which pages get new frames before anybody writes to them, where frames are exchanged.
//!
//! ```text
//!            found                  found, looked at: changed
//!  cold ───────────────► seen once ──────────────────────────► warm ─┐ found: new frame
//!    ▲                       │                                 ▲ │ ◄─┘
//!    │                       └─ looked at: as clean ─► left ◄──┼─┘ its turn, looked at: as clean
//!    └── not found ─────────────────────────────────────┴ found┘
//! ```
//!
//! Every page that a run has written gets a new frame while the used one is still held, so that no
//! page is in the same frame in two runs. A page that was given one looks written from then on;
//! whether it was is found by looking at its bytes, which costs less than a frame. So it is looked
//! at once soon, and then once in [`TURNS`] rounds. A run may write and leave the very bytes that
//! were there, as counting up and down does: a page that was given up and is found in the next
//! round was written, and is warm.
//!
//! Deliberately absent: bytes and frames; pages are numbers, such as an address divided by the
//! size of a page.

use std::collections::HashMap;

/// Rounds within which every warm page is looked at once.
pub const TURNS: u64 = 64;
/// Pages side by side that have their turn together.
const BLOCK: u64 = 16;

/// What was seen of a page.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// It has a frame from us.
    Once,
    /// It has one, and was written after it had got one.
    Often,
    /// It was given up in this round.
    Left(u64),
}

/// What was seen of a program's pages.
#[derive(Clone, Debug)]
pub struct Warm {
    pages: HashMap<u64, Seen>,
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
            None | Some(Seen::Left(_)) => false,
            Some(Seen::Once) => true,
            Some(Seen::Often) => self.round % TURNS == page / BLOCK % TURNS,
        }
    }

    /// This page gets a new frame: it was not due, or was found changed.
    pub fn renewed(&mut self, page: u64) {
        let seen = match self.pages.get(&page) {
            None => Seen::Once,
            Some(Seen::Left(round)) if round + 1 < self.round => Seen::Once,
            Some(_) => Seen::Often,
        };
        self.pages.insert(page, seen);
    }

    /// This page was found as clean as it was, and is given up.
    pub fn left(&mut self, page: u64) {
        self.pages.insert(page, Seen::Left(self.round));
    }

    /// How many pages have a frame from us, as far as is known.
    #[must_use]
    pub fn count(&self) -> usize {
        let seen = self.pages.values();
        seen.filter(|seen| !matches!(seen, Seen::Left(_))).count()
    }
}

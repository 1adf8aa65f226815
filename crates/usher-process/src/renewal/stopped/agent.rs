//! The pages of ours in the program: their text, and where they are.

use std::ops::Range;

/// The pages of ours in the program that make injected calls: text, which the program may not
/// write, and data. The program is hostile, so they are checked and written anew before each use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Agent {
    start: u64,
}

impl Agent {
    /// The addresses of its text.
    pub(crate) fn text(&self) -> Range<u64> {
        self.start..self.start
    }

    /// The addresses of its data.
    pub(crate) fn data(&self) -> Range<u64> {
        self.start..self.start
    }

    /// All addresses that are the agent's, for those who must leave them out: its text and data with
    /// the unused pages before and after them.
    pub(crate) fn range(&self) -> Range<u64> {
        self.start..self.start
    }
}

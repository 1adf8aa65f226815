//! In which frame of the machine's memory a page is. The kernel tells that to administrators only;
//! to others it says that there is none.
//!
//! Deliberately absent: what a frame is compared with.

use std::io;
use std::os::unix::fs::FileExt as _;

use usher_core::area::Place;

use super::{PageMap, WORD_FILE, WORD_PRESENT, page_bytes};

/// The bits of a word that number a frame.
const WORD_FRAME: u64 = (1 << 55) - 1;

impl PageMap {
    /// Where the page at `address` is.
    pub(crate) fn place(&self, address: u64) -> io::Result<Place> {
        let mut word = [0; size_of::<u64>()];
        let at = address / page_bytes() * size_of::<u64>() as u64;
        self.file.read_exact_at(&mut word, at)?;
        let word = u64::from_ne_bytes(word);
        if word & WORD_PRESENT == 0 {
            return Ok(Place::default());
        }
        let frame = Some(word & WORD_FRAME).filter(|frame| *frame != 0);
        Ok(Place {
            frame,
            own: word & WORD_FILE == 0,
        })
    }
}

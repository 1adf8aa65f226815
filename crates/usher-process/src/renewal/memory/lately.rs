//! Where the program's own pages were found lately, so that they are looked for there first.
//!
//! ```text
//!  where they were lately ─► as many as the kernel counts? ─yes─► these are all
//!        ▲                         └no─► wherever they are expected ─► all addresses
//!        └──────────── learnt ◄──────────────────┘
//! ```
//!
//! Nothing rests on this memory being right: the kernel's count says whether all were found.
//! Deliberately absent: the count, and the wider searches.

use usher_core::renewal::runs::{Span, merged};

use crate::sys::pages::Own;

/// A gap between two places over which the search goes on, in bytes: to look at the words of so many
/// pages is as dear as another question.
const GAP_MAX_BYTES: u64 = 256 << 10;
/// Searches after which what was learnt is forgotten, so that it does not grow for ever.
const SEARCHES_MAX: u32 = 512;
/// Places that are known; more are not worth their questions.
const PLACES_MAX: usize = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lately {
    places: Vec<Span>,
    searches: u32,
}

impl Lately {
    /// Where to look first, sorted; nowhere if nothing is known.
    pub(super) fn places(&mut self) -> &[Span] {
        self.searches += 1;
        if self.searches > SEARCHES_MAX {
            *self = Self::default();
        }
        &self.places
    }

    /// All own pages, sorted, that a wider search has found.
    pub(super) fn learn(&mut self, own: &[Own]) {
        let mut all: Vec<_> = own.iter().map(|own| own.span).collect();
        all.append(&mut self.places);
        all.sort_unstable();
        self.places = merged(all, GAP_MAX_BYTES);
        if self.places.len() > PLACES_MAX {
            self.places.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(start: u64, end: u64) -> Own {
        let span = Span::new(start, end);
        Own { span, away: false }
    }

    #[test]
    fn what_was_found_is_known_until_it_is_forgotten() {
        let far = 16 * GAP_MAX_BYTES;
        let mut lately = Lately::default();
        assert!(lately.places().is_empty());
        lately.learn(&[own(0, 4096), own(8192, 12288)]);
        lately.learn(&[own(far, far + 4096)]);
        let known = [Span::new(0, 12288), Span::new(far, far + 4096)];
        assert_eq!(lately.places(), known);
        for _ in 0..SEARCHES_MAX {
            lately.places();
        }
        assert!(lately.places().is_empty());
    }
}

//! What runs usually change, which is put back first: then the kernel's count says whether there is
//! anything else.
//!
//! ```text
//!  copied the last time ─► copied again: so all of it is the program's own
//!  dropped lately       ─► looked at ─► as many own pages as the kernel counts? ─yes─► all known
//!                                                                     └─no─► all are searched
//! ```
//!
//! A page that was written is the program's own, whoever wrote it, and the bytes that were written
//! are the clean ones. So nothing has to be known of it before; and when the count leaves no room
//! for another own page, there is none, wherever it were. Deliberately absent: what is done about
//! pages (`dirty`).

use usher_core::renewal::runs::{Span, cut, merged};

use super::dirty::Sorted;
use crate::sys::pages::page_bytes;

/// A gap between two places over which the look goes on, in pages: to look at so many is as dear as
/// another question.
const GAP_MAX_PAGES: u64 = 8;
/// Put-backs for which a dropped page is looked at again, at least, and at most twice that.
const LOOKED_AT: u32 = 8;
/// Places that are looked at; more are not worth their questions.
const PLACES_MAX: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Usual {
    copies: Vec<(usize, Span)>,
    /// What was dropped in the latest rounds, and in those before.
    dropped: [Vec<Span>; 2],
    rounds: u32,
}

impl Usual {
    /// What is copied before anything is looked for: pieces of parts, by the part's number, sorted.
    pub(super) fn copies(&self) -> &[(usize, Span)] {
        &self.copies
    }

    /// Takes in what was done.
    pub(super) fn learn(&mut self, sorted: &Sorted) {
        self.copies.clone_from(&sorted.copies);
        self.rounds += 1;
        if self.rounds.is_multiple_of(LOOKED_AT) {
            self.dropped.swap(0, 1);
            self.dropped[0].clear();
        }
        let [latest, _] = &mut self.dropped;
        latest.extend(&sorted.drops);
        latest.sort_unstable();
        *latest = merged(std::mem::take(latest), 0);
    }

    /// Where to look, sorted, beside the copies and `beside`; nothing if those are too many places.
    pub(super) fn places(&self, beside: impl IntoIterator<Item = Span>) -> Vec<Span> {
        let mut all: Vec<_> = self.dropped.iter().flatten().copied().collect();
        all.sort_unstable();
        let all = merged(all, 0);
        let mut known: Vec<_> = self.copies.iter().map(|(_, span)| *span).collect();
        known.extend(beside);
        known.sort_unstable();
        let mut places: Vec<Span> = Vec::new();
        cut(&all, &known, |span, number| {
            if number.is_some() {
                return;
            }
            let is_near = |last: &Span| {
                let next = known.partition_point(|one| one.end <= last.end);
                let free = known.get(next).is_none_or(|one| one.start >= span.start);
                free && span.start - last.end <= GAP_MAX_PAGES * page_bytes()
            };
            match places.last_mut().filter(|last| is_near(last)) {
                Some(last) => last.end = span.end,
                None => places.push(span),
            }
        });
        if places.len() > PLACES_MAX {
            places.clear();
        }
        places
    }

    /// Those of `copies` that are not copied already.
    pub(super) fn beyond(&self, copies: &[(usize, Span)]) -> Vec<(usize, Span)> {
        if copies == self.copies {
            return Vec::new();
        }
        let spans = |all: &[(usize, Span)]| all.iter().map(|(_, span)| *span).collect::<Vec<_>>();
        let mut beyond = Vec::new();
        cut(&spans(copies), &spans(&self.copies), |span, known| {
            let at = copies.partition_point(|(_, one)| one.end <= span.start);
            if let (None, Some((number, _))) = (known, copies.get(at)) {
                beyond.push((*number, span));
            }
        });
        beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(from: u64, to: u64) -> Span {
        Span::new(from * page_bytes(), to * page_bytes())
    }

    fn sorted(copies: &[(usize, Span)], drops: &[Span]) -> Sorted {
        Sorted {
            copies: copies.to_vec(),
            drops: drops.to_vec(),
            ..Sorted::default()
        }
    }

    #[test]
    fn what_was_dropped_is_looked_at_for_a_while_beside_what_is_copied() {
        let mut usual = Usual::default();
        assert!(usual.places([]).is_empty() && usual.copies().is_empty());
        let copies = [(0, pages(2, 4))];
        usual.learn(&sorted(&copies, &[pages(0, 3), pages(100, 101)]));
        assert_eq!(usual.places([]), [pages(0, 2), pages(100, 101)]);
        assert_eq!(usual.places([pages(100, 101)]), [pages(0, 2)]);
        usual.learn(&sorted(&copies, &[pages(5, 6), pages(8, 9)]));
        // One look for two that are near, but over nothing that is known.
        let near = [pages(0, 2), pages(5, 9), pages(100, 101)];
        assert_eq!(usual.places([]), near);
        let apart = [pages(0, 2), pages(5, 6), pages(8, 9), pages(100, 101)];
        assert_eq!(usual.places([pages(6, 7)]), apart);
        for _ in 0..2 * LOOKED_AT {
            usual.learn(&sorted(&copies, &[]));
        }
        assert!(usual.places([]).is_empty());
        assert_eq!(usual.copies(), copies);
    }

    #[test]
    fn what_is_not_copied_yet_is_told_with_its_part() {
        let mut usual = Usual::default();
        usual.learn(&sorted(&[(1, pages(4, 6)), (3, pages(8, 9))], &[]));
        let now = [(1, pages(2, 8)), (3, pages(8, 9)), (4, pages(20, 21))];
        let beyond = [(1, pages(2, 4)), (1, pages(6, 8)), (4, pages(20, 21))];
        assert_eq!(usual.beyond(&now), beyond);
        assert!(usual.beyond(&[(3, pages(8, 9))]).is_empty());
    }
}

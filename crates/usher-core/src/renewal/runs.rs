//! Ranges of addresses, sorted and apart from each other: joined over gaps, and cut at borders.
//!
//! Deliberately absent: what is at the addresses.

/// Addresses from `start` up to, and without, `end`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Span {
    /// The first address.
    pub start: u64,
    /// The first address behind it; not below `start`.
    pub end: u64,
}

impl Span {
    /// From `start` up to `end`, or nothing at `start` if `end` is below it.
    #[must_use]
    pub fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether there is no address in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub fn holds(&self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The part that both have, which may be empty.
    #[must_use]
    pub fn common(&self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

/// Fewer spans that hold all of `spans`, which are sorted: two become one if no more than `gap`
/// bytes are between them.
#[must_use]
pub fn merged(spans: impl IntoIterator<Item = Span>, gap: u64) -> Vec<Span> {
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.start.saturating_sub(last.end) <= gap => {
                last.end = last.end.max(span.end);
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// The parts of `within` that get memory of their own because `used` is there: those parts joined
/// over gaps of at most `gap` bytes, gaps at both ends of `within` included. `used` is sorted.
#[must_use]
pub fn covered(within: Span, used: &[Span], gap: u64) -> Vec<Span> {
    let inside = used.iter().map(|span| span.common(within));
    let mut parts = merged(inside.filter(|span| !span.is_empty()), gap);
    if let Some(first) = parts.first_mut()
        && first.start - within.start <= gap
    {
        first.start = within.start;
    }
    if let Some(last) = parts.last_mut()
        && within.end - last.end <= gap
    {
        last.end = within.end;
    }
    parts
}

/// Cuts `runs` at the borders of `regions` and calls `each` for every piece, with the number of the
/// region that it is in. Both are sorted and do not overlap among themselves.
pub fn cut(runs: &[Span], regions: &[Span], mut each: impl FnMut(Span, Option<usize>)) {
    let mut region = 0;
    for run in runs {
        let mut at = run.start;
        while at < run.end {
            while regions.get(region).is_some_and(|here| here.end <= at) {
                region += 1;
            }
            let (end, inside) = match regions.get(region) {
                Some(here) if here.start <= at => (here.end, Some(region)),
                Some(here) => (here.start, None),
                None => (run.end, None),
            };
            let end = end.min(run.end);
            each(Span::new(at, end), inside);
            at = end;
        }
    }
}

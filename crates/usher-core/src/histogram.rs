//! Histograms of times and sizes: cells that are added to without a lock, and read as a whole.
//!
//! Adding is two relaxed additions and a search over some twenty bounds. A reader sees each cell as
//! it is at that moment, so a reading may lack what is being added; it never shows anything twice.
//!
//! Deliberately absent: clocks, names and labels.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bounds of times, in nanoseconds: those of OpenTelemetry's HTTP metrics, and finer ones below
/// them, from 50 µs on.
pub const TIMES_NS: [u64; 20] = [
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

/// Bounds of renewals, in nanoseconds: a swap takes a microsecond, a program that is replaced up to
/// seconds.
pub const RENEWALS_NS: [u64; 14] = [
    1_000,
    2_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
    1_000_000_000,
];

/// Bounds of sizes, in bytes: powers of four.
pub const SIZES_BYTES: [u64; 13] = [
    64,
    256,
    1_024,
    4_096,
    16_384,
    65_536,
    262_144,
    1_048_576,
    4_194_304,
    16_777_216,
    67_108_864,
    268_435_456,
    1_073_741_824,
];

/// Counts values by the first bound that is not below them.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than there are bounds, for what is beyond the last one.
    cells: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one with these bounds, which rise.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            cells: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    /// Counts a value; answers the place of its cell.
    pub fn add(&self, value: u64) -> usize {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.cells[at].fetch_add(1, Relaxed);
        self.sum.fetch_add(value, Relaxed);
        at
    }

    /// What was counted so far.
    pub fn reading(&self) -> Reading {
        Reading {
            bounds: self.bounds,
            counts: self.cells.iter().map(|cell| cell.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// A histogram that takes no room before its first value.
#[derive(Debug, Default)]
pub struct Lazy(OnceLock<Box<Histogram>>);

impl Lazy {
    /// Counts a value by these bounds, which are the same each time.
    pub fn add(&self, bounds: &'static [u64], value: u64) {
        let histogram = self.0.get_or_init(|| Box::new(Histogram::new(bounds)));
        histogram.add(value);
    }

    /// What was counted so far; none: nothing.
    pub fn reading(&self) -> Option<Reading> {
        self.0.get().map(|histogram| histogram.reading())
    }
}

/// What a histogram has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Upper bounds, each inclusive.
    pub bounds: &'static [u64],
    /// Values by bound, and those beyond the last one; not cumulative.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Reading {
    /// Nothing, by these bounds.
    pub fn empty(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1],
            sum: 0,
        }
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds what another one with the same bounds has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Adds one reading to what there may be of others.
pub fn gather(all: &mut Option<Reading>, more: Option<Reading>) {
    match (all.as_mut(), more) {
        (Some(all), Some(more)) => all.add(&more),
        (None, more) => *all = more,
        (Some(_), None) => {}
    }
}

/// The value that a share of all values is not above, by straight lines between the bounds.
/// `counts` has the values up to each bound and above the one before, and one more count for what
/// is beyond the last bound, for which that bound stands. None: there are no values.
pub fn quantile(bounds: &[u64], counts: &[u64], share: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let wanted = share.clamp(0.0, 1.0) * all as f64;
    let (mut before, mut below) = (0.0, 0.0);
    for (bound, count) in bounds.iter().zip(counts) {
        let (bound, count) = (*bound as f64, *count as f64);
        if count > 0.0 && before + count >= wanted {
            return Some(below + (bound - below) * (wanted - before) / count);
        }
        before += count;
        below = bound;
    }
    Some(below)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_first_cell_that_holds_it() {
        let histogram = Histogram::new(&SIZES_BYTES);
        for (value, at) in [(0, 0), (64, 0), (65, 1), (1 << 30, 12), (u64::MAX >> 1, 13)] {
            assert_eq!(histogram.add(value), at, "{value}");
        }
        let reading = histogram.reading();
        assert_eq!(reading.count(), 5);
        assert_eq!(reading.counts[0], 2);
        assert_eq!(reading.counts.len(), SIZES_BYTES.len() + 1);
    }

    #[test]
    fn bounds_rise_and_hold_the_standard_ones() {
        for bounds in [&TIMES_NS[..], &RENEWALS_NS, &SIZES_BYTES] {
            assert!(
                bounds.windows(2).all(|pair| pair[0] < pair[1]),
                "{bounds:?}"
            );
        }
        let standard_ms = [
            5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000,
        ];
        for bound in standard_ms {
            assert!(TIMES_NS.contains(&(bound * 1_000_000)), "{bound} ms");
        }
    }

    #[test]
    fn what_was_never_added_to_takes_no_part() {
        let (lazy, mut all) = (Lazy::default(), None);
        gather(&mut all, lazy.reading());
        assert_eq!(all, None);
        lazy.add(&TIMES_NS, 60_000);
        gather(&mut all, lazy.reading());
        gather(&mut all, lazy.reading());
        gather(&mut all, None);
        let all = all.unwrap();
        assert_eq!((all.count(), all.counts[1], all.sum), (2, 2, 120_000));
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_cell() {
        let bounds = [10, 20, 40];
        assert_eq!(quantile(&bounds, &[0, 0, 0, 0], 0.5), None);
        assert_eq!(quantile(&bounds, &[0, 10, 0, 0], 0.5), Some(15.0));
        assert_eq!(quantile(&bounds, &[5, 0, 5, 0], 0.5), Some(10.0));
        assert_eq!(quantile(&bounds, &[5, 0, 5, 0], 1.0), Some(40.0));
        assert_eq!(quantile(&bounds, &[0, 0, 0, 3], 0.99), Some(40.0));
    }
}

//! A token bucket: so many at once, and so many a second in the long run.
//!
//! ```text
//!   full ─take→ … ─take→ empty ─take→ refused, with the time until the next token
//!     ▲───────── time ─────┘
//! ```
//!
//! It is exact: tokens are counted in millionths, of which one second of a rate of 1 makes a
//! million, so that nothing is lost by rounding however often it is asked.
//!
//! Deliberately absent: the clock.

/// Parts of a token, and microseconds of a second.
const PARTS: u64 = 1_000_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come in a second; 0: none ever.
    pub per_s: u32,
    /// Tokens that it holds; 0 counts as 1.
    pub burst: u32,
}

impl Rate {
    fn full(self) -> u64 {
        u64::from(self.burst.max(1)) * PARTS
    }
}

/// A bucket. A new one is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// What is missing until it is full, in parts of a token.
    missing: u64,
    /// When that was so, in the caller's microseconds.
    at_us: u64,
}

impl Bucket {
    /// Takes one token. Where there is none: in how many microseconds there will be, at most
    /// `u64::MAX`, which means never. A clock that goes back counts as one that stands.
    pub fn take(&mut self, rate: Rate, now_us: u64) -> Result<(), u64> {
        let passed_us = now_us.saturating_sub(self.at_us);
        self.at_us = self.at_us.max(now_us);
        let came = passed_us.saturating_mul(u64::from(rate.per_s));
        // What was missing of a larger bucket is not owed to a smaller one.
        self.missing = self.missing.min(rate.full()).saturating_sub(came);
        let left = rate.full() - self.missing;
        if let Some(wanting) = PARTS.checked_sub(left).filter(|parts| *parts > 0) {
            return Err(match rate.per_s {
                0 => u64::MAX,
                per_s => wanting.div_ceil(u64::from(per_s)),
            });
        }
        self.missing += PARTS;
        Ok(())
    }
}

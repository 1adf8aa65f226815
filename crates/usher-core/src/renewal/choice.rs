//! By which way a program is put back next, chosen by how long each way has kept it stopped.
//!
//! ```text
//!  in place, swap, in place, swap … ─► the cheaper one ─once in so many→ the other one, once
//!   └ LEARNT times each                   ▲                                      │
//!                                         └──────────────────────────────────────┘
//! ```
//!
//! The mean of each way is weighted, so that what was measured long ago counts for little; the
//! dearer one is tried again now and then, since a program that has changed its ways may make it
//! the cheaper one. Deliberately absent: clocks, and the ways themselves.

/// Put-backs by each way before one is preferred.
pub const LEARNT: u32 = 4;
/// Put-backs by the cheaper way before the other one is tried again.
pub const RETRIED_EVERY: u32 = 256;
/// A new figure counts for one in so many in the mean.
const WEIGHT: u64 = 4;

/// How a program's memory becomes clean.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Way {
    /// Its pages are written over, or dropped, where they are.
    InPlace,
    /// Its addresses show other frames.
    Swap,
}

impl Way {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::InPlace => Self::Swap,
            Self::Swap => Self::InPlace,
        }
    }
}

/// What is known of one way.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// How often it was tried, up to [`LEARNT`].
    tried: u32,
    /// What it costs, in nanoseconds; none: it could never be gone.
    mean_ns: Option<u64>,
}

/// What is known of both ways.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    in_place: Known,
    swap: Known,
    /// Put-backs since the dearer way was tried.
    since: u32,
}

impl Choice {
    /// The way of the next put-back.
    #[must_use]
    pub fn next(&self) -> Way {
        let learning = self.swap.tried.min(self.in_place.tried) < LEARNT;
        if learning {
            return match self.in_place.tried <= self.swap.tried {
                true => Way::InPlace,
                false => Way::Swap,
            };
        }
        match self.since >= RETRIED_EVERY {
            true => self.cheaper().other(),
            false => self.cheaper(),
        }
    }

    /// The way that has cost less so far; in place where nothing is known.
    #[must_use]
    pub fn cheaper(&self) -> Way {
        match (self.in_place.mean_ns, self.swap.mean_ns) {
            (Some(in_place), Some(swap)) if swap < in_place => Way::Swap,
            (None, Some(_)) => Way::Swap,
            _ => Way::InPlace,
        }
    }

    /// A program was put back by the way `gone`, which kept it stopped for so long. `asked` was
    /// wanted, and may not have been possible.
    pub fn tell(&mut self, asked: Way, gone: Way, stopped_ns: u64) {
        self.since = match asked == self.cheaper() {
            true => self.since.saturating_add(1),
            false => 0,
        };
        let known = self.known(asked);
        known.tried = known.tried.saturating_add(1).min(LEARNT);
        let mean_ns = &mut self.known(gone).mean_ns;
        *mean_ns = Some(match *mean_ns {
            None => stopped_ns,
            Some(mean_ns) => mean_ns - mean_ns / WEIGHT + stopped_ns / WEIGHT,
        });
    }

    fn known(&mut self, way: Way) -> &mut Known {
        match way {
            Way::InPlace => &mut self.in_place,
            Way::Swap => &mut self.swap,
        }
    }
}

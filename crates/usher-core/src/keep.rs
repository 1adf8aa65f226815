//! How many environments to keep ready, for how long, and how many to make ahead.
//!
//! Two supplies, two questions. *Environments* that are reused live on after a request: [`plan`]
//! says which of them have been idle long enough to be ended, down to none (scale to zero), and how
//! many to start so that `ready_min` always stand ready. *Fresh instances* are used up by a
//! request: [`stock_target`] says how many to have in stock, from the most that were in use at once
//! lately ([`HighWater`]).
//!
//! [`twin`] says whether one more environment is to be kept beside those that serve, and [`images`]
//! which images are given up.
//!
//! Deliberately absent: the clock, and which environment a request takes (`start`).

pub mod images;
pub mod twin;

use crate::function::Keep;

/// Most instances in stock for one revision, each of which holds an area.
pub const STOCK_MAX: u32 = 64;

/// What to do about a revision's idle environments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// End this many, the longest unused first.
    pub stop: usize,
    /// Start this many.
    pub start: usize,
    /// Nothing changes before this moment, in the caller's milliseconds, unless an environment
    /// does.
    pub again_ms: Option<u64>,
}

/// What a revision has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supply {
    /// All its environments, idle or not, those being started included.
    pub environments: usize,
    /// The most that it may have.
    pub environments_max: usize,
}

/// Decides over environments that are idle since the moments given, **oldest first**.
pub fn plan(
    keep: &Keep,
    supply: Supply,
    idle_since_ms: impl IntoIterator<Item = u64>,
    now_ms: u64,
) -> Plan {
    let ready_min = (keep.ready_min as usize).min(supply.environments_max);
    let spare = supply.environments.saturating_sub(ready_min);
    let idle_max_ms = keep.idle_max_s.saturating_mul(1_000);
    let mut plan = Plan {
        start: ready_min.saturating_sub(supply.environments),
        ..Plan::default()
    };
    for since_ms in idle_since_ms.into_iter().take(spare) {
        let due_ms = since_ms.saturating_add(idle_max_ms);
        if due_ms > now_ms {
            plan.again_ms = Some(due_ms);
            break;
        }
        plan.stop += 1;
    }
    plan
}

/// How many fresh instances to have in stock: as many as were in use at once lately, a quarter more
/// and one, because a burst takes them before any can be made; never more than [`STOCK_MAX`] or the
/// concurrency that the function may have.
pub fn stock_target(keep: &Keep, high_water: u32, concurrency_max: u32) -> u32 {
    let wanted = match high_water {
        0 => 0,
        high_water => high_water.saturating_add(high_water / 4).saturating_add(1),
    };
    wanted
        .max(keep.ready_min)
        .min(STOCK_MAX)
        .min(concurrency_max)
}

/// Parts that the window of a [`HighWater`] is cut into.
const PARTS: usize = 8;

/// The most that was in use at once within a sliding window, to an eighth of the window.
#[derive(Clone, Copy, Debug)]
pub struct HighWater {
    part_ms: u64,
    /// The highest of each part, by the part's number modulo [`PARTS`].
    highest: [u32; PARTS],
    /// The newest part.
    part: u64,
    /// What was noted last: it stays in use until something else is noted.
    level: u32,
}

impl HighWater {
    /// Nothing was in use. A window below 8 ms counts as 8 ms.
    pub const fn new(window_ms: u64) -> Self {
        let part_ms = window_ms / PARTS as u64;
        Self {
            part_ms: if part_ms == 0 { 1 } else { part_ms },
            highest: [0; PARTS],
            part: 0,
            level: 0,
        }
    }

    /// From now on `level` are in use.
    pub fn note(&mut self, level: u32, now_ms: u64) {
        self.turn(now_ms);
        self.level = level;
        let here = Self::place(self.part);
        self.highest[here] = self.highest[here].max(level);
    }

    /// The most that was in use within the window that ends now.
    pub fn highest(&mut self, now_ms: u64) -> u32 {
        self.turn(now_ms);
        self.highest.into_iter().max().unwrap_or(0)
    }

    /// Begins the parts that have come since; a clock that goes back begins none.
    fn turn(&mut self, now_ms: u64) {
        let now_part = now_ms / self.part_ms;
        let behind = now_part.saturating_sub(self.part).min(PARTS as u64);
        for step in 0..behind {
            self.highest[Self::place(now_part - step)] = self.level;
        }
        self.part = self.part.max(now_part);
    }

    const fn place(part: u64) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "less than PARTS")]
        let place = (part % PARTS as u64) as usize;
        place
    }
}

//! The ledger of areas: which area holds whose state, how often it was used, and which one is next.
//!
//! ```text
//! Clean ─swap→ Current ─swap→ Used ─scrub→ Scrubbing ─scrubbed→ Clean
//! ```
//!
//! Two books, for the two ways of becoming clean. A [`Pair`] belongs to one environment for life:
//! the run goes from one area to the other and back, and the one left behind is scrubbed. [`Slots`]
//! are shared: each fresh instance is found in some area, and must not be found where anybody is.
//!
//! Invariants: an area has one owner at most; the next area is never that of the previous run and
//! never one that is not scrubbed; an area's generation rises by one with each use of it.
//!
//! Deliberately absent: memory itself. The engine reads the pointer, [`determine`] compares what it
//! read with what the ledger names, and only then may a run begin.

mod determination;
mod frames;
mod slots;

use crate::id::{AreaId, EnvironmentId, Generation, RevisionId};

pub use determination::{Determination, NotThisArea, determine};
pub use frames::{NotMoved, Place, moved};
pub use slots::{NotOwned, Slots, Taken};

/// Whose state an area may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The environment.
    pub environment: EnvironmentId,
    /// The revision that it runs, which names the function's owner as well.
    pub revision: RevisionId,
}

/// What an area of a pair holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AreaState {
    /// The image, and nothing else.
    Clean,
    /// What the pointer names: the next run's state, or that of the run in progress.
    Current,
    /// What a run left behind.
    Used,
    /// It is being put back to the image; not one or the other yet.
    Scrubbing,
}

/// One of an environment's two areas: an index for the engine's own arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The area that the first run uses.
    Left,
    /// The area that the second run uses.
    Right,
}

impl Side {
    /// 0 or 1.
    pub const fn index(self) -> usize {
        match self {
            Self::Left => 0,
            Self::Right => 1,
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// One use of an area: what a proof names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AreaUse {
    /// The area.
    pub area: AreaId,
    /// Which use of it this is; the first is 1.
    pub generation: Generation,
}

#[derive(Clone, Copy, Debug)]
struct Area {
    id: AreaId,
    generation: Generation,
    state: AreaState,
}

/// The two areas of one environment. Nothing in it is allocated.
#[derive(Debug)]
pub struct Pair {
    owner: Owner,
    areas: [Area; 2],
    current: Side,
}

/// Why the areas of a pair cannot change places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("area {area:?} cannot become current while it is {state:?}")]
pub struct NotClean {
    /// The area that would have been next.
    pub area: AreaId,
    /// What it holds instead of the image.
    pub state: AreaState,
}

/// Why an area of a pair cannot take a step of its scrub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("area {area:?} is {state:?}, which is not the state before {step}")]
pub struct NotScrubbable {
    /// The area.
    pub area: AreaId,
    /// What it holds.
    pub state: AreaState,
    /// What was tried: `scrub` or `scrubbed`.
    pub step: &'static str,
}

impl Pair {
    /// Two areas mapped from the image, the left one current and both clean. The ids must be
    /// different from each other and from every id given out before.
    pub const fn new(owner: Owner, ids: [AreaId; 2]) -> Self {
        let [left, right] = ids;
        Self {
            owner,
            areas: [
                Area {
                    id: left,
                    generation: Generation(1),
                    state: AreaState::Current,
                },
                Area {
                    id: right,
                    generation: Generation(0),
                    state: AreaState::Clean,
                },
            ],
            current: Side::Left,
        }
    }

    /// Whose state these areas may hold.
    pub const fn owner(&self) -> Owner {
        self.owner
    }

    /// The side that the pointer must name.
    pub const fn side(&self) -> Side {
        self.current
    }

    /// The use that the pointer must name.
    pub const fn current(&self) -> AreaUse {
        let area = &self.areas[self.current.index()];
        AreaUse {
            area: area.id,
            generation: area.generation,
        }
    }

    /// What the area on a side holds.
    pub const fn state(&self, side: Side) -> AreaState {
        self.areas[side.index()].state
    }

    /// Makes the other area current, and the one that was current used.
    ///
    /// # Errors
    /// If the other area is not clean; nothing is changed then.
    pub const fn swap(&mut self) -> Result<Side, NotClean> {
        let next = self.current.other();
        let area = &mut self.areas[next.index()];
        if !matches!(area.state, AreaState::Clean) {
            return Err(NotClean {
                area: area.id,
                state: area.state,
            });
        }
        area.state = AreaState::Current;
        area.generation.0 += 1;
        self.areas[self.current.index()].state = AreaState::Used;
        self.current = next;
        Ok(next)
    }

    /// Notes that the current area was put back where it is, and is used once more.
    pub const fn again(&mut self) {
        self.areas[self.current.index()].generation.0 += 1;
    }

    /// Notes that the scrub of a used area begins. A scrub that fails leaves it in `Scrubbing`, so
    /// that it can never be current again.
    ///
    /// # Errors
    /// If the area is not used.
    pub const fn scrub(&mut self, side: Side) -> Result<(), NotScrubbable> {
        self.advance(side, AreaState::Used, AreaState::Scrubbing, "scrub")
    }

    /// Notes that an area is the image again, to the last byte.
    ///
    /// # Errors
    /// If the area was not being scrubbed.
    pub const fn scrubbed(&mut self, side: Side) -> Result<(), NotScrubbable> {
        self.advance(side, AreaState::Scrubbing, AreaState::Clean, "scrubbed")
    }

    const fn advance(
        &mut self,
        side: Side,
        from: AreaState,
        to: AreaState,
        step: &'static str,
    ) -> Result<(), NotScrubbable> {
        let area = &mut self.areas[side.index()];
        if area.state as u8 != from as u8 {
            return Err(NotScrubbable {
                area: area.id,
                state: area.state,
                step,
            });
        }
        area.state = to;
        Ok(())
    }
}

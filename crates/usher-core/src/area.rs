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

use std::collections::HashMap;

use crate::id::{AreaId, EnvironmentId, Generation, RevisionId};

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

/// The areas that fresh instances are found in, by the base address of their first memory.
///
/// Not bounded by itself: it holds one entry per place that the engine's pool can hand out, and
/// that pool is bounded.
#[derive(Debug, Default)]
pub struct Slots {
    slots: HashMap<u64, Slot>,
}

#[derive(Debug)]
struct Slot {
    id: AreaId,
    generation: Generation,
    owner: Option<Owner>,
}

/// The area at this place already holds somebody's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("area {area:?} still belongs to environment {}", owner.environment.0)]
pub struct Taken {
    /// The area.
    pub area: AreaId,
    /// Whose it is.
    pub owner: Owner,
}

/// The area at this place is not the one who gives it back owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment {} gives back an area at {base:#x} that it does not own", owner.environment.0)]
pub struct NotOwned {
    /// The place.
    pub base: u64,
    /// Who gave it back.
    pub owner: Owner,
}

impl Slots {
    /// No area is known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters a fresh instance that was found at `base`. A place that was never seen gets the id
    /// that `mint` gives, which must be one that was never given out.
    ///
    /// # Errors
    /// If the area there has an owner: its bytes may be another request's. Nothing is changed then.
    pub fn take(
        &mut self,
        base: u64,
        owner: Owner,
        mint: impl FnOnce() -> AreaId,
    ) -> Result<AreaUse, Taken> {
        let slot = self.slots.entry(base).or_insert_with(|| Slot {
            id: mint(),
            generation: Generation(0),
            owner: None,
        });
        if let Some(owner) = slot.owner {
            return Err(Taken {
                area: slot.id,
                owner,
            });
        }
        slot.owner = Some(owner);
        slot.generation.0 += 1;
        Ok(AreaUse {
            area: slot.id,
            generation: slot.generation,
        })
    }

    /// Gives an area back, **before** the instance in it is dropped: the engine's pool may hand the
    /// place out again as soon as it is.
    ///
    /// # Errors
    /// If that owner does not have it. Nothing is changed then.
    pub fn release(&mut self, base: u64, owner: Owner) -> Result<(), NotOwned> {
        match self.slots.get_mut(&base) {
            Some(slot) if slot.owner == Some(owner) => {
                slot.owner = None;
                Ok(())
            }
            _ => Err(NotOwned { base, owner }),
        }
    }

    /// Who owns the area at a place.
    pub fn owner(&self, base: u64) -> Option<Owner> {
        self.slots.get(&base).and_then(|slot| slot.owner)
    }
}

/// Where an environment's state is: the area, and the base address of each of its memories, in the
/// order of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Determination<'a> {
    /// The area.
    pub area: AreaId,
    /// The base address of every memory, 0 for one that could not be read.
    pub bases: &'a [u64],
}

/// The pointer does not name the area that it has to name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotThisArea {
    /// Another area altogether.
    #[error("the pointer names area {}, the ledger area {}", read.0, expected.0)]
    Area {
        /// What the ledger names.
        expected: AreaId,
        /// What was read.
        read: AreaId,
    },
    /// Not every memory was read.
    #[error("{read} memories were read, the environment has {expected}")]
    Count {
        /// How many the environment has.
        expected: usize,
        /// How many were read.
        read: usize,
    },
    /// One memory is elsewhere.
    #[error("memory {memory} is at {read:#x}, the ledger has it at {expected:#x}")]
    Base {
        /// Which, in the order of the image.
        memory: usize,
        /// Where the ledger has it.
        expected: u64,
        /// Where the pointer has it.
        read: u64,
    },
    /// One memory could not be read, or the ledger does not know where it is.
    #[error("memory {memory} has no address")]
    Null {
        /// Which, in the order of the image.
        memory: usize,
    },
}

/// The determination that gates every run: what was *read from the environment itself* must be what
/// the ledger names, memory by memory.
///
/// # Errors
/// The first difference. The run is then refused and the environment quarantined.
pub fn determine(expected: Determination<'_>, read: Determination<'_>) -> Result<(), NotThisArea> {
    if expected.area != read.area {
        return Err(NotThisArea::Area {
            expected: expected.area,
            read: read.area,
        });
    }
    if expected.bases.len() != read.bases.len() {
        return Err(NotThisArea::Count {
            expected: expected.bases.len(),
            read: read.bases.len(),
        });
    }
    for (memory, (&expected, &read)) in expected.bases.iter().zip(read.bases).enumerate() {
        if expected == 0 || read == 0 {
            return Err(NotThisArea::Null { memory });
        }
        if expected != read {
            return Err(NotThisArea::Base {
                memory,
                expected,
                read,
            });
        }
    }
    Ok(())
}

//! The areas of a shared pool, in which fresh instances are found.
//!
//! ```text
//! free ─take→ owned ─release→ free
//! ```
//!
//! Invariants: an area has one owner at most; a place keeps its id; its generation rises by one
//! with each use. Deliberately absent: the engine's pool itself, and whether it cleans what it
//! hands out.

use std::collections::HashMap;

use super::{AreaUse, Owner};
use crate::id::{AreaId, Generation};

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

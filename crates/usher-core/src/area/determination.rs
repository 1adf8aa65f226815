//! The determination: does the pointer name the area that the ledger names?
//!
//! Deliberately absent: reading the pointer. What is compared here must have been read from the
//! environment itself, never from a counter about it.

use crate::id::AreaId;

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

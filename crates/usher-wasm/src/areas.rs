//! The areas of one environment: two for each memory, one ledger for all of them.
//!
//! ```text
//! turn: every memory names its other area, the ledger too ─→ scrub: the one left is put back
//! ```
//!
//! The ledger decides (`usher_core::area`); this carries it out on the mappings. The scrub of the
//! area left behind may run on another thread while the environment serves its next request from
//! the other one: they share nothing but the ledger, under its lock.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use usher_core::area::{AreaState, AreaUse, Determination, Owner, Pair, Side, determine};
use usher_core::id::AreaId;

use crate::sys::image::MemoryImage;
use crate::sys::memory::AreaPair;

/// Every so many scrubs of an environment, private pages that have gone cold are given back. Odd,
/// because the sides take turns: of an even number one of them would never have its turn.
const SCRUBS_PER_COLD_DROP: u64 = 65;
const _: () = assert!(!SCRUBS_PER_COLD_DROP.is_multiple_of(2));

/// Faults that tests put in on purpose.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    /// The ledger goes on, the pointer does not.
    pub(crate) skip_swap: AtomicBool,
    /// A scrub leaves a wrong byte.
    pub(crate) spoil: AtomicBool,
}

/// The areas of one environment.
#[derive(Debug)]
pub(crate) struct Areas {
    pairs: Vec<Arc<AreaPair>>,
    images: Vec<Arc<MemoryImage>>,
    sizes: Vec<usize>,
    /// Where the areas of each side begin.
    bases: [Vec<u64>; 2],
    ids: [AreaId; 2],
    ledger: Mutex<Pair>,
    scrubs: AtomicU64,
    injected: Arc<Injected>,
}

impl Areas {
    /// Takes the image of every memory as it is now and lays it over both of its areas. Images
    /// that are known already and hold the same bytes are shared.
    pub(crate) fn freeze(
        pairs: Vec<Arc<AreaPair>>,
        headroom: usize,
        known: &[Arc<MemoryImage>],
        owner: Owner,
        ids: [AreaId; 2],
        injected: Arc<Injected>,
    ) -> io::Result<Self> {
        let images = pairs.iter().enumerate();
        let images = images.map(|(at, pair)| pair.freeze(headroom, known.get(at)));
        let images = images.collect::<io::Result<_>>()?;
        Ok(Self::of(pairs, images, owner, ids, injected))
    }

    /// Lays images over the areas of every memory that were taken of another environment of the
    /// same code, where the memories had these sizes.
    pub(crate) fn adopt(
        pairs: Vec<Arc<AreaPair>>,
        headroom: usize,
        known: (&[Arc<MemoryImage>], &[usize]),
        owner: Owner,
        ids: [AreaId; 2],
        injected: Arc<Injected>,
    ) -> io::Result<Self> {
        let (images, sizes) = known;
        if images.len() != pairs.len() || sizes.len() != pairs.len() {
            return Err(io::Error::other("the images are of another component"));
        }
        for ((pair, image), size) in pairs.iter().zip(images).zip(sizes) {
            pair.adopt(image, *size, headroom)?;
        }
        Ok(Self::of(pairs, images.to_vec(), owner, ids, injected))
    }

    fn of(
        pairs: Vec<Arc<AreaPair>>,
        images: Vec<Arc<MemoryImage>>,
        owner: Owner,
        ids: [AreaId; 2],
        injected: Arc<Injected>,
    ) -> Self {
        let sizes = pairs.iter().map(|pair| pair.size()).collect();
        let bases = [0, 1].map(|side| pairs.iter().map(|pair| pair.base(side) as u64).collect());
        Self {
            pairs,
            images,
            sizes,
            bases,
            ids,
            ledger: Mutex::new(Pair::new(owner, ids)),
            scrubs: AtomicU64::new(0),
            injected,
        }
    }

    /// The sizes of the memories in the image, in bytes.
    pub(crate) fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// The images, to be shared with the next environment.
    pub(crate) fn images(&self) -> &[Arc<MemoryImage>] {
        &self.images
    }

    /// Which use of which area the ledger names.
    pub(crate) fn current(&self) -> AreaUse {
        self.ledger.lock().current()
    }

    /// Compares the bases that the runtime read with those of the area that the ledger names.
    pub(crate) fn determine(&self, read: &[u64]) -> Result<(), String> {
        let (side, current) = {
            let ledger = self.ledger.lock();
            (ledger.side(), ledger.current())
        };
        // Which area the pointers lead to is found from them alone.
        let elsewhere = !read.is_empty() && self.bases[side.other().index()] == read;
        let found = if elsewhere { side.other() } else { side };
        let expected = Determination {
            area: current.area,
            bases: &self.bases[side.index()],
        };
        let read = Determination {
            area: self.ids[found.index()],
            bases: read,
        };
        determine(expected, read).map_err(|wrong| wrong.to_string())
    }

    /// Makes every memory name its other area. What is left of an earlier scrub is done first.
    pub(crate) fn turn(&self) -> Result<Side, String> {
        let mut ledger = self.ledger.lock();
        let next = ledger.side().other();
        if ledger.state(next) == AreaState::Used {
            self.scrub_locked(&mut ledger, next)?;
        }
        let left = ledger.side();
        ledger.swap().map_err(|error| error.to_string())?;
        if !self.injected.skip_swap.load(Ordering::Relaxed) {
            for (pair, size) in self.pairs.iter().zip(&self.sizes) {
                pair.turn(*size);
            }
        }
        Ok(left)
    }

    /// Puts a used area back to the image. Does nothing where that was done already.
    pub(crate) fn scrub(&self, side: Side) -> Result<(), String> {
        let mut ledger = self.ledger.lock();
        match ledger.state(side) {
            AreaState::Used => self.scrub_locked(&mut ledger, side),
            _ => Ok(()),
        }
    }

    fn scrub_locked(&self, ledger: &mut Pair, side: Side) -> Result<(), String> {
        ledger.scrub(side).map_err(|error| error.to_string())?;
        let scrubs = self.scrubs.fetch_add(1, Ordering::Relaxed);
        let drop_cold = scrubs % SCRUBS_PER_COLD_DROP == SCRUBS_PER_COLD_DROP - 1;
        for (pair, image) in self.pairs.iter().zip(&self.images) {
            pair.scrub(side.index(), image, drop_cold)
                .map_err(|error| format!("an area could not be scrubbed: {error}"))?;
        }
        if self.injected.spoil.load(Ordering::Relaxed)
            && let Some(pair) = self.pairs.first()
        {
            pair.spoil(side.index());
        }
        ledger.scrubbed(side).map_err(|error| error.to_string())
    }

    /// Compares the current area of every memory with the image, every byte.
    pub(crate) fn audit(&self) -> Result<(), String> {
        let side = self.ledger.lock().side().index();
        for (at, (pair, image)) in self.pairs.iter().zip(&self.images).enumerate() {
            pair.compare(side, image)
                .map_err(|difference| format!("memory {at}: {difference}"))?;
        }
        Ok(())
    }

    /// How often `marker` stands in the current area of any memory.
    pub(crate) fn count_current(&self, marker: &[u8]) -> usize {
        let side = self.ledger.lock().side();
        let counts = self
            .pairs
            .iter()
            .map(|pair| pair.count(side.index(), marker));
        counts.sum()
    }

    /// How often `marker` stands in the area that is not current.
    pub(crate) fn count_other(&self, marker: &[u8]) -> usize {
        let side = self.ledger.lock().side().other();
        let counts = self
            .pairs
            .iter()
            .map(|pair| pair.count(side.index(), marker));
        counts.sum()
    }
}

//! What only the embedded backbone promises: crashes, power loss, full disks, its folder.

#![allow(clippy::unwrap_used)]

mod child;
mod disk;
mod folder;
mod full;
mod kill;
mod power;

use std::path::Path;

use super::{BlobFolder, Embedded, FolderLock, Limits, Store};

/// A backbone in `folder` whose entries are in `store`.
fn open_on(folder: &Path, opener: super::store::Opener, limits: Limits) -> Embedded {
    let (store, loaded) = Store::open(opener).unwrap();
    start(folder, store, loaded, limits)
}

fn start(folder: &Path, store: Store, loaded: super::store::Loaded, limits: Limits) -> Embedded {
    let lock = FolderLock::take(folder).unwrap();
    let blobs = BlobFolder::open(folder, &limits).unwrap();
    Embedded::start(lock, blobs, store, loaded, limits).unwrap()
}

/// A generator of numbers that are random enough for tests, and the same every time.
struct Dice(u64);

impl Dice {
    /// A number below `bound`.
    fn roll(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

//! The two areas of a fake environment, and the pointer that says which one is current.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Size of an area.
pub const AREA_BYTES: usize = 4096;

/// Where the guest `counter` counts; 0 in the image.
pub const COUNTER_AT: usize = 64;

/// The image: not all zero, so that an area which was merely emptied is told from one that was put
/// back.
pub(super) fn image_bytes() -> Arc<[u8]> {
    let mut bytes = vec![0xA5; AREA_BYTES];
    bytes[COUNTER_AT] = 0;
    bytes.into()
}

/// Two areas and the pointer. A guest reaches its state only by `read` and `write`, which follow
/// the pointer.
pub struct Memory {
    areas: [Area; 2],
    pointer: AtomicUsize,
}

struct Area {
    bytes: Mutex<Vec<u8>>,
    clean: AtomicBool,
}

impl Memory {
    pub(super) fn new(image: &[u8]) -> Self {
        let area = || Area {
            bytes: Mutex::new(image.to_vec()),
            clean: AtomicBool::new(true),
        };
        Self {
            areas: [area(), area()],
            pointer: AtomicUsize::new(0),
        }
    }

    /// The current area's byte.
    pub fn read(&self, at: usize) -> u8 {
        self.areas[self.pointer()].bytes.lock()[at]
    }

    /// Writes into the current area.
    pub fn write(&self, at: usize, bytes: &[u8]) {
        let area = &self.areas[self.pointer()];
        area.clean.store(false, Ordering::SeqCst);
        area.bytes.lock()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Whether the bytes stand anywhere in the current area.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        let area = self.areas[self.pointer()].bytes.lock();
        area.windows(bytes.len()).any(|window| window == bytes)
    }

    pub(super) fn pointer(&self) -> usize {
        self.pointer.load(Ordering::SeqCst)
    }

    pub(super) fn point(&self, area: usize) {
        self.pointer.store(area, Ordering::SeqCst);
    }

    /// Puts an area back to the image, unless it is current or the image already.
    pub(super) fn scrub(&self, area: usize, image: &[u8]) {
        let mut bytes = self.areas[area].bytes.lock();
        // Read under the lock that every access takes: a scrub that comes late finds the area in
        // use again.
        if self.pointer() == area {
            return;
        }
        let area = &self.areas[area];
        if !area.clean.swap(true, Ordering::SeqCst) {
            bytes.copy_from_slice(image);
        }
    }

    pub(super) fn spoil(&self, area: usize) {
        self.areas[area].bytes.lock()[0] ^= 0xFF;
    }

    pub(super) fn equals(&self, area: usize, image: &[u8]) -> bool {
        self.areas[area].bytes.lock().as_slice() == image
    }
}

//! The places in memory where a marker is left: one function each, so that each can be read alone.

use std::arch::wasm32;
use std::cell::UnsafeCell;
use std::hint::black_box;

use crate::marker::Marker;

const PLACE_BYTES: usize = 64;
const PAGE_BYTES: usize = 64 * 1024;
/// Deep enough that the rest of the run does not write over it.
const STACK_BYTES: usize = 32 * 1024;

struct Place(UnsafeCell<[u8; PLACE_BYTES]>);

// SAFETY: A component has one thread.
unsafe impl Sync for Place {}

static PLACE: Place = Place(UnsafeCell::new([0; PLACE_BYTES]));

pub(crate) fn plant_static(marker: &Marker) {
    // SAFETY: No other reference to it is ever made, and there is one thread.
    marker.fill(unsafe { &mut *PLACE.0.get() });
}

/// A block that is never freed.
pub(crate) fn plant_heap(marker: &Marker) {
    marker.fill(Box::leak(Box::new([0; PLACE_BYTES])));
}

/// A block that is freed at once, big enough that the allocator's own notes do not cover it.
pub(crate) fn plant_freed(marker: &Marker) {
    let mut block = vec![0; 4 * 1024];
    marker.fill(&mut block);
    drop(black_box(block));
}

/// A frame that has returned: what it held stays below the stack pointer.
#[inline(never)]
pub(crate) fn plant_stack(marker: &Marker) {
    let mut frame = [0; STACK_BYTES];
    marker.fill(black_box(&mut frame[..PLACE_BYTES]));
    black_box(&frame);
}

/// Both ends of a page that the memory did not have before.
pub(crate) fn plant_grown(marker: &Marker) {
    let before = wasm32::memory_grow::<0>(1);
    if before == usize::MAX {
        return;
    }
    let page = (before * PAGE_BYTES) as *mut u8;
    // SAFETY: The page was added just now, is zero, and belongs to nobody else.
    let page = unsafe { std::slice::from_raw_parts_mut(page, PAGE_BYTES) };
    let (first, rest) = page.split_at_mut(PLACE_BYTES);
    marker.fill(first);
    let behind = rest.len() - PLACE_BYTES;
    marker.fill(&mut rest[behind..]);
}

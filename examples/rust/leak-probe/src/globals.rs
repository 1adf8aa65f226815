//! Two mutable globals of WebAssembly, which no address reaches: Rust has no word for them, its
//! assembler has.

use std::arch::{asm, global_asm};

use crate::marker::{MASK, Marker};

const MASKS: u64 = u64::from_ne_bytes([MASK; 8]);

global_asm!(
    ".globaltype probe_low, i64",
    "probe_low:",
    ".globaltype probe_high, i64",
    "probe_high:",
);

/// Leaves the planted form in the two globals.
pub(crate) fn plant(marker: &Marker) {
    let [low, high] = marker.halves().map(|half| half ^ MASKS);
    // SAFETY: Sets two globals that nothing else knows.
    unsafe {
        asm!("local.get {}", "global.set probe_low", in(local) low);
        asm!("local.get {}", "global.set probe_high", in(local) high);
    }
}

/// 1 if the globals hold the planted form.
pub(crate) fn hits(marker: &Marker) -> usize {
    let (low, high): (u64, u64);
    // SAFETY: Reads two globals that nothing else knows.
    unsafe {
        asm!("global.get probe_low", "local.set {}", out(local) low);
        asm!("global.get probe_high", "local.set {}", out(local) high);
    }
    usize::from([low, high].map(|half| half ^ MASKS) == marker.halves())
}

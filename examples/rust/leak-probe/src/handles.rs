//! What the numbers of handles can tell the next run: how many were left, and in which order others
//! were freed.

use wasip2::http::types::Fields;

/// How many numbers are looked at.
const LOOKED_AT: usize = 8;
/// The most handles that are left behind.
const LEAKED_MAX: u8 = 63;

/// The numbers of some new handles, which go back in such an order that looking changes nothing.
pub(crate) fn numbers() -> [u32; LOOKED_AT] {
    let fields: [Fields; LOOKED_AT] = std::array::from_fn(|_| Fields::new());
    let numbers = std::array::from_fn(|at| fields[at].handle());
    fields.into_iter().rev().for_each(drop);
    numbers
}

/// Leaves as many handles behind as the low bits of `secret` say.
pub(crate) fn leak(secret: u8) {
    for _ in 0..secret & LEAKED_MAX {
        std::mem::forget(Fields::new());
    }
}

/// Frees some handles, first those where `secret` has a bit, then the others: the next ones that
/// are made get these numbers backwards.
pub(crate) fn free_in_order(secret: u8) {
    let fields: [Fields; LOOKED_AT] = std::array::from_fn(|_| Fields::new());
    let (first, then): (Vec<_>, Vec<_>) = (0..)
        .zip(fields)
        .partition(|(bit, _)| secret & (1 << bit) != 0);
    drop(first);
    drop(then);
}

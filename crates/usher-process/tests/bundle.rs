//! Bundles: what is packed comes out again, and no archive does harm.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bundle {
    mod forge;
    mod hostile;
    mod mutated;
    mod packed;
    mod stored;
}

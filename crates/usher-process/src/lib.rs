//! Linux programs as functions.
//!
//! Deliberately absent: wasm.

#![forbid(unsafe_code)]

pub mod bundle;

//! Linux programs as functions.
//!
//! Deliberately absent: wasm.

#![deny(unsafe_code)]

pub mod bundle;

//! The one module of this crate that holds unsafe code: mappings, the kernel's page scan, the
//! memories that wasmtime is handed, and the loading of code that this platform compiled itself.
//!
//! Everything here has a safe face. The rest of the crate forbids unsafe code, and what lies behind
//! these faces is small enough to be read in one sitting. Deliberately absent: decisions. Which
//! area is current, when it is scrubbed and whether it may be used is decided by the callers.

#![allow(unsafe_code)]

pub(crate) mod code;
pub(crate) mod image;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod pagemap;
pub(crate) mod tracker;
pub(crate) mod written;

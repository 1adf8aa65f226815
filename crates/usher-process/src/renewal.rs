//! Putting a program back to what it was before a request.

pub(crate) mod memory;
pub(crate) mod stopped;

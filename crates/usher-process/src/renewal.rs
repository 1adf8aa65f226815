//! Putting a program back to what it was before a request.

pub(crate) mod kernel;
pub(crate) mod stopped;

//! Nothing: this crate exists for its `tests/`, which look at the platform as a whole.

#![forbid(unsafe_code)]

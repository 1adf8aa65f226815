//! placeholder

pub mod rewrite;

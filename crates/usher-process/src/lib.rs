//! The process engine: any Linux program, unmodified, in a sandbox.

#![deny(unsafe_code)]

pub mod sandbox;
mod sys;

//! The process engine: any Linux program, unmodified, behind the contract that it speaks.
//!
//! Deliberately absent: HTTP routing, pools of environments, and how many there are.

#![deny(unsafe_code)]

pub mod contract;

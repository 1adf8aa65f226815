//! The process engine: any Linux program, unmodified, behind the same door as components.
//!
//! ```text
//!  gateway ─► node ─► contract ─► program, in its sandbox ─► outbound ─► what its list permits
//! ```
//!
//! Deliberately absent: routing, and pools of environments, which a node keeps.

#![deny(unsafe_code)]

pub mod contract;
pub mod outbound;
mod tunnel;

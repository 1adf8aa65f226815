//! Every decision of the platform, as plain functions over data.
//!
//! The roles gather facts, call these functions, and carry out what they answer; no choice is left
//! to a task.
//!
//! Deliberately absent: clocks, randomness, tasks, files and sockets. Time comes in as a value, and
//! so does everything else.

#![forbid(unsafe_code)]

pub mod admit;
pub mod area;
pub mod audit;
pub mod claim;
pub mod environment;
pub mod fault;
pub mod freshness;
pub mod function;
pub mod id;
pub mod keep;
pub mod key;
pub mod outbound;
pub mod proof;
pub mod renewal;
pub mod route;
pub mod start;
pub mod trace;
pub mod traffic;

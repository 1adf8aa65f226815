//! Every decision of the platform, as plain functions over data.
//!
//! The roles gather facts, call these functions, and carry out what they answer; no choice is left
//! to a task.
//!
//! Deliberately absent: clocks, randomness, tasks, files and sockets. Time comes in as a value, and
//! so does everything else.

#![forbid(unsafe_code)]

pub mod admit;
pub mod api_key;
pub mod area;
pub mod audit;
pub mod certificate;
pub mod claim;
pub mod cloud_event;
pub mod cors;
pub mod environment;
pub mod fault;
pub mod freshness;
pub mod function;
pub mod id;
pub mod keep;
pub mod key;
pub mod outbound;
pub mod owner;
pub mod proof;
pub mod rate;
pub mod renewal;
pub mod route;
pub mod start;
pub mod trace;

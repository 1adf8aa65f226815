//! The Runtime API against a client that speaks raw HTTP: every answer of every endpoint, streams
//! byte by byte, and what hostile programs send.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "lambda/rig.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod rig;

#[path = "lambda/callers.rs"]
mod callers;
#[path = "lambda/calls.rs"]
mod calls;
#[path = "lambda/hostile.rs"]
mod hostile;
#[path = "lambda/streams.rs"]
mod streams;

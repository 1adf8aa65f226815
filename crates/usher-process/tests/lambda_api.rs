//! The Runtime API against a client that speaks raw HTTP: every answer of every endpoint, streams
//! byte by byte, what hostile programs send, and going back.

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
#[path = "lambda/restore.rs"]
mod restore;
#[path = "lambda/rewind.rs"]
mod rewind;
#[path = "lambda/streams.rs"]
mod streams;

//! A program in C changes one piece of its state for each word that it is told, and is put back.

#![expect(clippy::unwrap_used, reason = "tests")]

mod guest;
mod pieces;
mod prices;
mod refusals;
mod sandboxed;

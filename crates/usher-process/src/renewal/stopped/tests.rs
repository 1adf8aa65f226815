//! Programs in C are stopped and made to do things, and say themselves whether they noticed.

#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod copies;
mod cycles;
mod ends;
mod guest;
mod hostile;
mod threads;

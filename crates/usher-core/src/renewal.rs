//! What has to be done to put a program's memory back: decided here, done by the process engine.
//!
//! ```text
//!  mappings now ─layout→ repairs        changed pages ─runs→ by mapping ─hot→ copied or dropped
//!                                                  └warm→ in new frames, or dropped
//!  by which of the two ─choice→ whichever has kept the program stopped for less
//! ```
//!
//! Deliberately absent: how the kernel is asked what is there, and told what to do.

pub mod choice;
pub mod hot;
pub mod layout;
pub mod runs;
pub mod warm;

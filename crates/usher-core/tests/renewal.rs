//! What is decided about a program's memory, against naive twins that hold its pages one by one.

#[path = "renewal/choice.rs"]
mod choice;
#[path = "renewal/hot.rs"]
mod hot;
#[path = "renewal/layout.rs"]
mod layout;
#[path = "renewal/runs.rs"]
mod runs;
#[path = "renewal/warm.rs"]
mod warm;

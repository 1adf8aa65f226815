//! The rewriting of components, watched from outside: through the engine and through the report.
//!
//! Deliberately absent: memories. Their areas are the host's part and are tested with it; here a
//! memory keeps what was written to it.

#[path = "rewrite/clone.rs"]
mod clone;
#[path = "rewrite/examples.rs"]
mod examples;
#[path = "rewrite/globals.rs"]
mod globals;
#[path = "rewrite/guest.rs"]
mod guest;
#[path = "rewrite/handles.rs"]
mod handles;
#[path = "rewrite/hostile.rs"]
mod hostile;
#[path = "rewrite/random.rs"]
mod random;
#[path = "rewrite/verdicts.rs"]
mod verdicts;

use proptest::test_runner::Config;

/// Random cases, of which failing ones are not kept in files.
fn cases(count: u32) -> Config {
    Config {
        failure_persistence: None,
        ..Config::with_cases(count)
    }
}

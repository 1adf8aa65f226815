//! Boxes for the futures that each request has, whose size is bounded when the node is compiled.
//!
//! A future has room for all that it may ever wait for, also for what hardly ever happens. Boxing
//! one moves it, so what is large and seldom has a box of its own where it begins.

use std::pin::Pin;

/// The most that a request's future may take up.
const REQUEST_MAX_BYTES: usize = 8 << 10;

/// Boxes a future of a request's path; one that is larger than [`REQUEST_MAX_BYTES`] does not
/// compile.
pub(crate) fn boxed<F: Future>(future: F) -> Pin<Box<F>> {
    const {
        assert!(
            size_of::<F>() <= REQUEST_MAX_BYTES,
            "a request's future is too large: box what it seldom waits for"
        );
    }
    Box::pin(future)
}

//! The contracts that programs speak, and what all of them have in common: an answer, and the rest.
//!
//! Deliberately absent: time limits and a program's exit, which whoever calls watches beside a
//! call.

pub mod port;

use usher_api::body::Body;
use usher_api::invoke::BoxFuture;

/// What is left of a call once the reply's head is there. Somebody has to drive it to its end: the
/// reply's body moves only while it is polled. Dropping it cancels the call.
pub type Rest<E> = BoxFuture<'static, Result<(), E>>;

/// A program's answer.
pub struct Answered<E> {
    /// The head as the program gave it, less what belongs to one connection, and the body as it is
    /// made.
    pub response: http::Response<Body>,
    /// None: the reply is complete, and the program can be called again.
    pub rest: Option<Rest<E>>,
}

impl<E> std::fmt::Debug for Answered<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answered")
            .field("response", &self.response)
            .field("over", &self.rest.is_none())
            .finish()
    }
}

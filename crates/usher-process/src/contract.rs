//! The contracts that programs speak, and what all of them have in common: an answer, and the rest.
//!
//! Deliberately absent: time limits, the program's exit and its output. Whoever calls a contract
//! races it with those.

pub mod lambda;
pub mod port;

use usher_api::body::Body;
use usher_api::invoke::BoxFuture;

/// What is left of a call once the reply's head is there. It resolves when the reply is complete
/// and the program is ready for the next call. Somebody has to drive it to its end: a reply's body
/// may move only while it is polled, and dropping it gives the call up.
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

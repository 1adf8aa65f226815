//! The contracts that a program may speak, and what all of them answer.
//!
//! Deliberately absent: time limits, the program's end and its output. Whoever calls a contract
//! races it with those.

pub mod lambda;

use usher_api::body::Body;
use usher_api::invoke::BoxFuture;

/// What is left of a call once its answer's head is there. It resolves when the reply is complete
/// and the program is ready for the next call; dropping it loses that news and nothing else.
pub type Rest<E> = BoxFuture<'static, Result<(), E>>;

/// The answer to one call.
pub struct Answered<E> {
    /// Head and body as the caller is to see them; the body follows as it is made.
    pub response: http::Response<Body>,
    /// None if the program has no part in this call, or is done with it already.
    pub rest: Option<Rest<E>>,
    /// What is to stand in the function's log about this answer, besides what the program wrote.
    pub note: Option<String>,
}

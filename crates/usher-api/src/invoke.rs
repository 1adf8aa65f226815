//! Invocations: what a gateway asks of a node, and what it gets.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use usher_core::fault::Fault;
use usher_core::function::Revision;
use usher_core::id::RequestId;
use usher_core::key::Key;
use usher_core::proof::Proof;

use crate::body::Body;

/// One call of a function.
#[derive(Debug)]
pub struct Invocation {
    /// What to run. The gateway has resolved the name, so that the node never runs by name.
    pub revision: Arc<Revision>,
    /// Whose state it needs, where the revision keeps state by key; such a revision is never run
    /// without one.
    pub key: Option<Key>,
    /// The request, from first log line to last.
    pub request_id: RequestId,
    /// Head and body as the function is to see them: prefix stripped, `usher-*` headers removed,
    /// the URI absolute.
    pub request: http::Request<Body>,
}

/// The answer to an invocation.
#[derive(Debug)]
pub struct Reply {
    /// Head and body as the function gave them.
    pub response: http::Response<Body>,
    /// How it was served.
    pub proof: Proof,
}

/// The answer to an invocation that got no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct Failure {
    /// Why, and whose fault it is.
    pub fault: Fault,
    /// How it was served, where its run had begun in an environment.
    pub proof: Option<Proof>,
}

impl From<Fault> for Failure {
    /// Of an invocation that never reached an environment.
    fn from(fault: Fault) -> Self {
        Self { fault, proof: None }
    }
}

/// A future that a trait object hands out.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whatever runs invocations: the node in this process, later one on another host.
pub trait Invoker: Send + Sync + 'static {
    /// Runs one invocation and answers as soon as the response's head is there; the body follows as
    /// it is made.
    ///
    /// Dropping the future or the reply's body cancels the invocation; its environment is then
    /// destroyed.
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Reply, Failure>>;
}

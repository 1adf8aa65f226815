//! One call into an environment.

use std::sync::Arc;

use usher_api::body::Body;
use usher_core::id::RequestId;

/// One call of the code in an environment.
pub struct Call {
    /// Ties every line that the guest writes to the request.
    pub request_id: RequestId,
    /// Head and body as the code is to see them, with an absolute URI.
    pub request: http::Request<Body>,
    /// Where the guest's output goes.
    pub output: Arc<dyn GuestOutput>,
}

/// Which of the guest's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Takes what guests write. Must not block: it is called on the guest's own thread.
pub trait GuestOutput: Send + Sync + 'static {
    /// Takes bytes of one stream in the order in which they were written; lines may come in pieces.
    fn write(&self, request: RequestId, stream: GuestStream, bytes: &[u8]);

    /// Takes a sentence of the platform about this request that stands in no fault, such as what a
    /// sandbox denied. Where a run trapped is the fault's inner cause.
    fn note(&self, request: RequestId, text: &str);
}

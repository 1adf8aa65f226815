//! What runs in a fake environment: closures, and those that the contract suite needs.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use usher_api::body::{Body, BodyError};
use usher_api::invoke::BoxFuture;
use usher_core::fault::Fault;
use usher_core::function::Limits;
use usher_core::id::RequestId;

use super::Shared;
use super::memory::{COUNTER_AT, Memory};
use crate::call::{GuestOutput, GuestStream};

/// A guest: called once for each request.
pub type Guest = Arc<dyn Fn(Visit) -> BoxFuture<'static, Result<Answer, Failure>> + Send + Sync>;

/// Whose fault it is, and the inner cause.
pub type Failure = (Fault, String);

/// What is left of a run after the head.
pub(super) type Rest = BoxFuture<'static, Result<(), Failure>>;

/// Frames that a streamed body holds before its writer has to wait.
const BODY_FRAMES_MAX: usize = 1;

/// One request, as a guest sees it.
pub struct Visit {
    /// Head and body.
    pub request: http::Request<Body>,
    /// Which request it is.
    pub request_id: RequestId,
    /// Where its output goes.
    pub output: Arc<dyn GuestOutput>,
    /// Its state.
    pub memory: Arc<Memory>,
    /// What it may use.
    pub limits: Limits,
}

/// A response whose body may still be in the making.
pub struct Answer {
    /// Head and body.
    pub response: http::Response<Body>,
    /// What the guest does after the head, if anything.
    pub rest: Option<BoxFuture<'static, Result<(), Failure>>>,
}

impl Answer {
    /// A whole answer.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            response: http::Response::new(Body::from(text.into())),
            rest: None,
        }
    }
}

/// Both ends of a streamed body; the writer waits while the reader does not read.
pub fn channel_body() -> (mpsc::Sender<Result<Bytes, BodyError>>, Body) {
    let (send, receive) = mpsc::channel(BODY_FRAMES_MAX);
    (send, Body::stream(ChannelBody(receive)))
}

struct ChannelBody(mpsc::Receiver<Result<Bytes, BodyError>>);

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = self.0.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

fn guest<F>(run: impl Fn(Visit) -> F + Send + Sync + 'static) -> Guest
where
    F: Future<Output = Result<Answer, Failure>> + Send + 'static,
{
    Arc::new(move |visit| Box::pin(run(visit)))
}

pub(super) fn all(shared: &Arc<Shared>) -> HashMap<String, Guest> {
    let (slow_shared, stream_shared) = (shared.clone(), shared.clone());
    let guests = [
        ("hello", guest(async |_| Ok(Answer::text("hello\n")))),
        ("counter", guest(counter)),
        ("echo", guest(echo)),
        ("print", guest(print)),
        (
            "slow",
            guest(move |visit| {
                let shared = slow_shared.clone();
                async move {
                    let (id, output) = (visit.request_id, visit.output);
                    output.write(id, GuestStream::Stdout, b"begun\n");
                    shared.gates.run.pass().await;
                    Ok(Answer::text("slow\n"))
                }
            }),
        ),
        ("stream", guest(move |_| stream(stream_shared.clone()))),
        ("stream-trap", guest(stream_trap)),
        (
            "trap",
            guest(async |_| Err((Fault::Trap, "unreachable".to_owned()))),
        ),
        ("spin", guest(async |_| std::future::pending().await)),
        ("hog", guest(hog)),
    ];
    guests
        .into_iter()
        .map(|(name, guest)| (name.to_owned(), guest))
        .collect()
}

async fn counter(visit: Visit) -> Result<Answer, Failure> {
    let count = visit.memory.read(COUNTER_AT).wrapping_add(1);
    visit.memory.write(COUNTER_AT, &[count]);
    Ok(Answer::text(count.to_string()))
}

/// Each piece of the request's body is a piece of the reply's, as soon as the reader has room for
/// it.
async fn echo(visit: Visit) -> Result<Answer, Failure> {
    let (send, body) = channel_body();
    let mut request = visit.request.into_body();
    let rest = async move {
        while let Some(frame) = request.frame().await {
            let frame = frame.map_err(|error| (Fault::CallerGone, error.to_string()))?;
            if let Ok(bytes) = frame.into_data()
                && send.send(Ok(bytes)).await.is_err()
            {
                return Err(gone());
            }
        }
        Ok(())
    };
    Ok(Answer {
        response: http::Response::new(body),
        rest: Some(Box::pin(rest)),
    })
}

fn gone() -> Failure {
    (Fault::CallerGone, "nobody reads the reply".to_owned())
}

/// Writes a line in two pieces, another to standard error, and the beginning of a third.
async fn print(visit: Visit) -> Result<Answer, Failure> {
    let write = |stream, bytes: &[u8]| visit.output.write(visit.request_id, stream, bytes);
    write(GuestStream::Stdout, b"one ");
    write(GuestStream::Stdout, b"line\n");
    write(GuestStream::Stderr, b"oh\n");
    write(GuestStream::Stdout, b"half");
    Ok(Answer::text("printed\n"))
}

/// The head and one piece at once, the second piece when the gate lets it through.
async fn stream(shared: Arc<Shared>) -> Result<Answer, Failure> {
    let (send, body) = channel_body();
    let rest = async move {
        for piece in ["first\n", "second\n"] {
            if piece == "second\n" {
                shared.gates.run.pass().await;
            }
            let sent = send.send(Ok(Bytes::from_static(piece.as_bytes()))).await;
            sent.map_err(|_| gone())?;
        }
        Ok(())
    };
    Ok(Answer {
        response: http::Response::new(body),
        rest: Some(Box::pin(rest)),
    })
}

async fn stream_trap(_: Visit) -> Result<Answer, Failure> {
    let (send, body) = channel_body();
    let rest = async move {
        let sent = send.send(Ok(Bytes::from_static(b"first\n"))).await;
        sent.map_err(|_| gone())?;
        // Whether anybody still reads decides nothing: the run has failed either way.
        let _ = send.send(Err(Fault::Trap.into())).await;
        Err((Fault::Trap, "unreachable".to_owned()))
    };
    Ok(Answer {
        response: http::Response::new(body),
        rest: Some(Box::pin(rest)),
    })
}

async fn hog(visit: Visit) -> Result<Answer, Failure> {
    let memory_max_bytes = u64::from(visit.limits.memory_max_mib) << 20;
    Err((
        Fault::OutOfMemory { memory_max_bytes },
        "memory.grow was refused".to_owned(),
    ))
}

//! Cases: requests reach the guest, replies and output come back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt;
use usher_api::body::{Body, BodyError};
use usher_core::id::RequestId;

use super::{ContractHarness, Recorder, call, end, finish, get, ready, renew};
use crate::call::GuestStream;
use crate::environment::{Environment, Run};

/// A piece of the endless body.
const PIECE_BYTES: usize = 16 << 10;

/// Turns that everybody gets while the reader stands still: more than enough for a writer that
/// nothing holds back.
const TURNS: u32 = 2_000;

/// A guest answers, and again after a renewal.
pub async fn answers<H: ContractHarness>(harness: &H) {
    let mut environment = ready(harness, "hello").await;
    for _ in 0..3 {
        let run = finish(environment, get("http://hello.test/")).await;
        assert!(run.text.to_lowercase().contains("hello"), "{:?}", run.text);
        environment = renew(run.left).await;
    }
}

/// Every byte of a body comes back in order, whether it comes whole or in pieces.
pub async fn streams_both_ways<H: ContractHarness>(harness: &H) {
    let environment = ready(harness, "echo").await;
    let text = (0..50_000).map(|n| format!("{n},")).collect::<String>();
    let mut whole = get("http://echo.test/");
    *whole.method_mut() = http::Method::POST;
    *whole.body_mut() = Body::from(text.clone());
    let run = finish(environment, whole).await;
    assert!(run.text == text, "a whole body came back changed");

    let environment = renew(run.left).await;
    let mut pieces = get("http://echo.test/");
    *pieces.method_mut() = http::Method::POST;
    *pieces.body_mut() = Body::stream(Pieces(text.clone().into()));
    let run = finish(environment, pieces).await;
    assert!(run.text == text, "a streamed body came back changed");
}

/// While nobody reads the reply, the guest stops reading the request.
pub async fn echo_holds_back_a_writer<H: ContractHarness>(harness: &H) {
    let environment = ready(harness, "echo").await;
    let taken = Arc::new(AtomicU64::new(0));
    let mut request = get("http://echo.test/");
    *request.method_mut() = http::Method::POST;
    *request.body_mut() = Body::stream(Endless(taken.clone()));
    let Run { reply, over, .. } = environment.run(call(request, &Recorder::new())).await;
    let mut body = reply.expect("echo answers").into_body();
    let reader = async move {
        let first = body.frame().await.expect("a piece comes");
        first.expect("the piece is whole");
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let (taken, bound) = (taken.load(Ordering::SeqCst), harness.buffered_max_bytes());
        assert!(
            taken <= bound,
            "{taken} bytes were taken in, {bound} may be held"
        );
        drop(body);
    };
    let (left, ()) = tokio::join!(end(over), reader);
    drop(left);
}

/// What a guest writes arrives under the id of its request.
pub async fn output_carries_the_request_id<H: ContractHarness>(harness: &H) {
    let environment = ready(harness, "slow").await;
    let output = Recorder::new();
    let mut call = call(get("http://slow.test/"), &output);
    call.request_id = RequestId(42);
    tokio::select! {
        _ = environment.run(call) => panic!("slow has answered"),
        () = output.wait_for(RequestId(42), "begun\n") => {}
    }
    assert_eq!(output.text(RequestId(7), GuestStream::Stdout), "");
}

/// A reply that was not read yet keeps its bytes while the environment is renewed and serves the
/// next request.
pub async fn an_answer_outlives_its_environment<H: ContractHarness>(harness: &H) {
    let mut environment = ready(harness, "hello").await;
    let mut unread = Vec::new();
    for _ in 0..3 {
        let Run { reply, over, .. } = environment
            .run(call(get("http://hello.test/"), &Recorder::new()))
            .await;
        let response = reply.expect("hello answers");
        // Collecting has to go on beside the guest, which may wait for a reader.
        let (left, body) = tokio::join!(end(over), response.into_body().collect());
        unread.push(body.expect("the body is whole").to_bytes());
        environment = renew(left).await;
    }
    assert!(unread[0] == unread[1] && unread[1] == unread[2]);
}

/// A body in pieces of uneven size.
struct Pieces(Bytes);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.0.len().div_ceil(3).min(PIECE_BYTES);
        let piece = self.0.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// A body without an end that counts what was taken of it.
pub(super) struct Endless(pub(super) Arc<AtomicU64>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.fetch_add(PIECE_BYTES as u64, Ordering::SeqCst);
        let piece = Bytes::from_static(&[b'x'; PIECE_BYTES]);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

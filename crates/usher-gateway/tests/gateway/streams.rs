//! Bodies: frame by frame in both directions, with back-pressure, and what a failure looks like.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use usher_api::body::{Body, BodyError};
use usher_api::invoke::Invocation;
use usher_core::fault::Fault;
use usher_core::function::{Limits, Settings};
use usher_gateway::Bounds;

use crate::rig::{Fake, Rig, alarm, data, event, fed, figures, outcome, reply, text};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST_CHUNKED: &str = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

fn bounded(body_max_bytes: u64) -> Settings {
    Settings {
        limits: Limits {
            body_max_bytes: Some(body_max_bytes),
            ..Limits::default()
        },
        ..Settings::default()
    }
}

/// A function that gives the given body to the first who asks.
fn gives(response: Response<Body>) -> impl usher_api::invoke::Invoker {
    let response = Mutex::new(Some(response));
    Fake(move |_| {
        let response = response.lock().unwrap().take();
        async { response.map_or_else(|| text("another"), reply) }
    })
}

#[tokio::test]
async fn every_frame_arrives_before_the_next_one_is_made() {
    let (feed, body) = fed();
    let rig = Rig::single(Settings::default(), gives(Response::new(body))).await;
    let mut raw = rig.connect().await;
    raw.send(GET).await;
    let head = raw.until("\r\n\r\n").await;
    assert!(head.contains("transfer-encoding: chunked"));
    for piece in ["one", "two", "three"] {
        feed.send(data(piece)).unwrap();
        assert_eq!(raw.chunk().await.unwrap(), piece);
    }
    drop(feed);
    assert_eq!(raw.chunk().await, None);
    raw.send(GET).await;
    assert_eq!(
        raw.answer().await.body,
        "another",
        "the connection is used again"
    );
}

#[tokio::test]
async fn a_request_is_answered_while_it_is_still_being_sent() {
    let rig = Rig::single(
        Settings::default(),
        Fake(async |invocation: Invocation| reply(Response::new(invocation.request.into_body()))),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send(POST_CHUNKED).await;
    raw.until("\r\n\r\n").await;
    for piece in ["a", "b", "c"] {
        raw.send(&format!("1\r\n{piece}\r\n")).await;
        assert_eq!(raw.chunk().await.unwrap(), piece);
    }
    raw.send("0\r\n\r\n").await;
    assert_eq!(raw.chunk().await, None);
}

#[tokio::test]
async fn a_caller_who_does_not_read_stops_the_function_and_one_who_reads_gets_all() {
    const FRAME_BYTES: usize = 64 * 1024;
    const FRAMES: u64 = 1_024;
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    let rig = Rig::single(
        Settings::default(),
        Fake(move |_| {
            let made = Arc::clone(&counted);
            let frames = futures_util::stream::iter(0..FRAMES).map_frames(move || {
                made.fetch_add(1, Relaxed);
                Bytes::from(vec![b'x'; FRAME_BYTES])
            });
            async { reply(Response::new(frames)) }
        }),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send(GET).await;
    raw.until("\r\n\r\n").await;
    // The buffers of the kernel and of hyper fill, and then nothing more is made: the counter
    // stands still for as long as other connections are served.
    let mut before = u64::MAX;
    while before != made.load(Relaxed) {
        before = made.load(Relaxed);
        for _ in 0..50 {
            rig.once("GET / HTTP/1.1\r\n\r\n").await;
        }
    }
    assert!(before < FRAMES, "all {before} frames were made for nobody");
    let mut bytes = 0;
    while let Some(chunk) = raw.chunk().await {
        bytes += chunk.len();
    }
    assert_eq!(bytes as u64, FRAMES * FRAME_BYTES as u64);
}

trait MapFrames {
    fn map_frames(self, make: impl FnMut() -> Bytes + Send + 'static) -> Body;
}

impl<S: futures_util::Stream<Item = u64> + Send + 'static> MapFrames for S {
    fn map_frames(self, mut make: impl FnMut() -> Bytes + Send + 'static) -> Body {
        use futures_util::StreamExt;
        let frames = self.map(move |_| Ok(http_body::Frame::data(make())));
        Body::stream(http_body_util::StreamBody::new(frames))
    }
}

#[tokio::test]
async fn a_function_that_does_not_read_stops_the_caller() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let (took, mut taken) = mpsc::unbounded_channel();
    let rig = Rig::single(
        Settings::default(),
        Fake(move |invocation: Invocation| {
            let took = took.clone();
            let gate = Arc::clone(&opened);
            async move {
                gate.notified().await;
                let body = invocation.request.into_body().collect().await.unwrap();
                took.send(body.to_bytes().len()).unwrap();
                text("")
            }
        }),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 67108864\r\n\r\n")
        .await;
    let (mut reader, mut writer) = raw.0.split();
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    // A write that does not end while other requests are served waits for the function.
    let stuck = loop {
        let write = writer.write_all(&piece);
        let mut write = std::pin::pin!(write);
        let mut stuck = false;
        for _ in 0..200 {
            if futures_util::poll!(write.as_mut()).is_ready() {
                break;
            }
            rig.once("GET / HTTP/1.1\r\n\r\n").await;
            stuck = true;
        }
        if stuck && futures_util::poll!(write.as_mut()).is_pending() {
            gate.notify_one();
            event(write).await.unwrap();
            break true;
        }
        sent += piece.len();
        if sent == 64 << 20 {
            break false;
        }
    };
    assert!(
        stuck,
        "64 MiB were taken from the caller for a function that reads nothing"
    );
    sent += piece.len();
    let rest = async {
        while sent < 64 << 20 {
            writer.write_all(&piece).await.unwrap();
            sent += piece.len();
        }
    };
    event(rest).await;
    assert_eq!(event(taken.recv()).await, Some(64 << 20));
    assert_ne!(event(reader.read_u8()).await.unwrap(), 0);
}

#[tokio::test]
async fn an_announced_body_that_is_too_large_is_refused_before_it_is_sent() {
    let rig = Rig::single(bounded(10), Fake(async |_| text("never"))).await;
    let answer = rig
        .once("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n")
        .await;
    assert_eq!(answer.status, 413, "and no 100 before it");
    assert_eq!(answer.error()["label"], "body-too-large");
    assert!(
        answer.error()["message"]
            .as_str()
            .unwrap()
            .contains("10 bytes")
    );
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_fails_the_read_and_then_the_request() {
    let (read, mut reads) = mpsc::unbounded_channel();
    let function = move |invocation: Invocation| {
        let read = read.clone();
        async move {
            let body = invocation.request.into_body().collect().await;
            read.send(body.map(|body| body.to_bytes())).unwrap();
            text("whatever")
        }
    };
    let rig = Rig::single(bounded(10), Fake(function)).await;
    let answer = rig
        .once(&format!(
            "{POST_CHUNKED}8\r\n12345678\r\n3\r\n901\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.status, 413);
    let failed = event(reads.recv()).await.unwrap();
    assert!(matches!(
        failed,
        Err(BodyError::Fault(Fault::BodyTooLarge { body_max_bytes: 10 }))
    ));
    assert_eq!(outcome(&rig.gauge, "body-too-large"), 1);

    // The same with a byte less is served.
    let answer = rig
        .once(&format!(
            "{POST_CHUNKED}8\r\n12345678\r\n2\r\n90\r\n0\r\n\r\n"
        ))
        .await;
    assert_eq!(answer.body, "whatever");
    assert_eq!(event(reads.recv()).await.unwrap().unwrap(), "1234567890");
}

#[tokio::test]
async fn expect_continue_is_answered_when_the_function_reads() {
    let rig = Rig::single(
        Settings::default(),
        Fake(async |invocation: Invocation| {
            assert!(!invocation.request.headers().contains_key("expect"));
            let body = invocation.request.into_body().collect().await.unwrap();
            reply(Response::new(Body::from(body.to_bytes())))
        }),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert_eq!(raw.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("hi").await;
    assert_eq!(raw.answer().await.body, "hi");
}

#[tokio::test]
async fn a_failure_in_mid_stream_cuts_the_connection_without_the_final_chunk() {
    for (error, label) in [
        (BodyError::Fault(Fault::Trap), "trap"),
        (BodyError::Broken("x".to_owned()), "trap"),
        (
            BodyError::Fault(Fault::OutOfMemory {
                memory_max_bytes: 1,
            }),
            "out-of-memory",
        ),
    ] {
        let (feed, body) = fed();
        let rig = Rig::single(Settings::default(), gives(Response::new(body))).await;
        let mut raw = rig.connect().await;
        // Both at once: what was written before the failure is still the caller's.
        feed.send(data("partial")).unwrap();
        feed.send(Err(error)).unwrap();
        raw.send(GET).await;
        raw.until("\r\n\r\n").await;
        assert_eq!(raw.rest().await, b"7\r\npartial\r\n");
        figures(&rig.gauge, |_| outcome(&rig.gauge, label) == 1).await;
    }
}

#[tokio::test]
async fn a_caller_who_leaves_in_mid_stream_cancels_the_invocation() {
    let (held, dropped) = alarm();
    let (feed, body) = fed();
    let body = body.map_frame(move |frame| {
        let _held = &held;
        frame
    });
    let rig = Rig::single(
        Settings::default(),
        gives(Response::new(Body::stream(body))),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send(GET).await;
    feed.send(data("first")).unwrap();
    raw.until("first\r\n").await;
    assert_eq!(rig.gauge.snapshot().running, 1);
    drop(raw);
    event(dropped).await.unwrap();
    figures(&rig.gauge, |figures| figures.running == 0).await;
    assert_eq!(outcome(&rig.gauge, "caller-gone"), 1);
}

#[tokio::test]
async fn a_caller_who_takes_nothing_is_cut() {
    let bounds = Bounds {
        write_stall_max_ms: 1,
        ..Bounds::default()
    };
    let (held, dropped) = alarm();
    let endless = futures_util::stream::iter(0..u64::MAX).map_frames(move || {
        let _held = &held;
        Bytes::from(vec![b'x'; 64 * 1024])
    });
    let rig = Rig::with_bounds(bounds, Settings::default(), gives(Response::new(endless))).await;
    let mut raw = rig.connect().await;
    raw.send(GET).await;
    event(dropped).await.unwrap();
    figures(&rig.gauge, |figures| figures.running == 0).await;
}

#[tokio::test]
async fn a_function_ends_in_peace_when_all_it_announced_is_sent() {
    let (held, mut dropped) = alarm();
    let (feed, body) = fed();
    let body = body.map_frame(move |frame| {
        let _held = &held;
        frame
    });
    let mut response = Response::new(Body::stream(body));
    let headers = response.headers_mut();
    headers.insert("content-length", "4".parse().unwrap());
    let rig = Rig::single(Settings::default(), gives(response)).await;
    let mut raw = rig.connect().await;
    raw.send(GET).await;
    feed.send(data("1234")).unwrap();
    assert_eq!(raw.answer().await.body, "1234");
    raw.send(GET).await;
    assert_eq!(raw.answer().await.body, "another");
    // The caller is served, and the function, which has not come to its end, still runs.
    assert!(dropped.try_recv().is_err(), "the invocation was cancelled");
    assert_eq!(rig.gauge.snapshot().running, 1);
    drop(feed);
    event(dropped).await.unwrap();
    figures(&rig.gauge, |figures| figures.running == 0).await;
    assert_eq!(outcome(&rig.gauge, "2xx"), 2);
}

#[tokio::test]
async fn a_reply_that_falls_short_of_its_announcement_is_cut() {
    let (feed, body) = fed();
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert("content-length", "9".parse().unwrap());
    let rig = Rig::single(Settings::default(), gives(response)).await;
    let mut raw = rig.connect().await;
    raw.send(GET).await;
    raw.until("\r\n\r\n").await;
    feed.send(data("1234")).unwrap();
    drop(feed);
    assert_eq!(raw.rest().await, b"1234");
    figures(&rig.gauge, |_| outcome(&rig.gauge, "trap") == 1).await;
}

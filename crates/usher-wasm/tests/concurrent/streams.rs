//! Bodies in both directions: larger than the memory, with trailers, and left by their reader.

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;
use usher_core::function::{Limits, Settings};
use usher_engine::{Call, Ended, Environment, Over, Run};

use crate::guests::Bench;
use crate::{TOOL_CHAINS, alive, end};

const PIECE_BYTES: usize = 60_000;
/// Far more than the memory that the guest is given.
const LARGE_BYTES: usize = 200 << 20;

/// A body of so many bytes, each of which tells its place, made as it is read.
fn made(bytes: usize) -> Body {
    let pieces = (0..bytes.div_ceil(PIECE_BYTES)).map(move |piece| {
        let from = piece * PIECE_BYTES;
        let to = bytes.min(from + PIECE_BYTES);
        let piece: Vec<u8> = (from..to).map(byte_at).collect();
        Ok::<_, BodyError>(Frame::data(Bytes::from(piece)))
    });
    Body::stream(StreamBody::new(futures_util::stream::iter(pieces)))
}

fn byte_at(place: usize) -> u8 {
    (place % 251).to_le_bytes()[0]
}

fn posted(bench: &Bench, target: &str, body: Body) -> Call {
    let mut call = bench.call(target);
    *call.request.method_mut() = http::Method::POST;
    *call.request.body_mut() = body;
    call
}

async fn read(mut body: Body) -> usize {
    let mut place = 0;
    while let Some(frame) = body.frame().await {
        for byte in frame.unwrap().into_data().unwrap() {
            assert_eq!(byte, byte_at(place), "byte {place}");
            place += 1;
        }
    }
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_larger_than_the_memory_passes_both_ways() {
    let settings = Settings {
        limits: Limits {
            memory_max_mib: 16,
            ..Limits::default()
        },
        ..Settings::default()
    };
    let bench = Bench::new();
    let image = bench.load("rust-p3-echo", settings).await;
    for target in ["/", "/?pass"] {
        let call = posted(&bench, target, made(LARGE_BYTES));
        let Run { reply, over, .. } = bench.start(&image).await.run(call).await;
        let (left, bytes) = tokio::join!(end(over), read(reply.unwrap().into_body()));
        assert_eq!(bytes, LARGE_BYTES, "{target}");
        left.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_tool_chain_streams() {
    for chain in TOOL_CHAINS {
        let bench = Bench::new();
        let image = bench
            .load(&format!("{chain}-echo"), Settings::default())
            .await;
        for bytes in [0, 1, 500_000] {
            let call = posted(&bench, "/", made(bytes));
            let Run { reply, over, .. } = bench.start(&image).await.run(call).await;
            let (left, read) = tokio::join!(end(over), read(reply.unwrap().into_body()));
            assert_eq!(read, bytes, "{chain}");
            left.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_come_through() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-echo", Settings::default()).await;
    for target in ["/", "/?pass"] {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("42"));
        let frames = [
            Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"data"))),
            Ok(Frame::trailers(trailers.clone())),
        ];
        let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
        let call = posted(&bench, target, body);
        let Run { reply, over, .. } = bench.start(&image).await.run(call).await;
        let (left, body) = tokio::join!(end(over), reply.unwrap().into_body().collect());
        let body = body.unwrap();
        assert_eq!(body.trailers(), Some(&trailers), "{target}");
        assert_eq!(body.to_bytes(), "data");
        left.unwrap();
    }
}

/// A body that gives one piece and then nothing more.
fn stuck() -> Body {
    let first = Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"first")));
    let pieces = futures_util::stream::iter([first]).chain(futures_util::stream::pending());
    Body::stream(StreamBody::new(pieces))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_the_environment() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-echo", Settings::default()).await;
    for target in ["/", "/?pass"] {
        let environment = bench.start(&image).await;
        let call = posted(&bench, target, stuck());
        let Run { reply, over, .. } = environment.run(call).await;
        let mut body = reply.unwrap().into_body();
        let Over::Later(rest) = over else {
            panic!("an echo cannot be over before its request");
        };
        let reader = async move {
            body.frame().await.unwrap().unwrap();
            drop(body);
        };
        match tokio::join!(rest, reader).0 {
            // Where the stream itself was handed on, no task waits for it any more.
            Ok(_) => assert_eq!(target, "/?pass"),
            Err(Ended::Destroyed { fault, .. }) => assert_eq!(fault, Fault::CallerGone),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(alive(&bench), 0, "{target}");
    }
}

/// A short reply is handed on whole, with its length; nothing is left to be driven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_reply_is_over_at_once() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-hello", Settings::default()).await;
    let environment = bench.start(&image).await;
    let Run { reply, over, .. } = environment.run(bench.call("/")).await;
    let reply = reply.unwrap();
    assert!(matches!(over, Over::Now(Ok(_))));
    assert!(matches!(reply.body(), Body::Whole(_)));
}

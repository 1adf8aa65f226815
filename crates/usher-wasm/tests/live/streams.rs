//! Replies that are still being read: whole beside the next request, broken where their run broke,
//! and the end of an environment whose reader has gone.

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::watch;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;
use usher_core::function::Settings;
use usher_engine::{Ended, Environment, Over, Run};
use usher_wasm::WasmUsed;

use crate::guests::{Bench, counter_of};
use crate::{alive, renewed, stuck};

const STREAMED_BYTES: u64 = 64 << 20;
const PIECE_BYTES: u64 = 60_000;

/// The byte at a place of the body that `key` names.
fn byte_at(key: u64, place: u64) -> u8 {
    let mixed = (place ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_be_bytes()[0]
}

/// A body of so many bytes, made as it is read.
fn made(key: u64, bytes: u64) -> Body {
    let pieces = (0..bytes.div_ceil(PIECE_BYTES)).map(move |piece| {
        let from = piece * PIECE_BYTES;
        let to = bytes.min(from + PIECE_BYTES);
        let piece: Vec<u8> = (from..to).map(|place| byte_at(key, place)).collect();
        Ok::<_, BodyError>(Frame::data(Bytes::from(piece)))
    });
    Body::stream(StreamBody::new(futures_util::stream::iter(pieces)))
}

/// Reads a body to its end and compares it. Once the run is over it waits for `served` before it
/// reads on, so that the rest is read beside, or after, the next request.
async fn read(
    mut body: Body,
    key: u64,
    mut over: watch::Receiver<bool>,
    served: &watch::Sender<bool>,
) -> u64 {
    let mut place = 0;
    let mut held = served.subscribe();
    loop {
        if *over.borrow_and_update() {
            held.wait_for(|served| *served).await.unwrap();
        }
        // Slowly: everybody else gets a turn before each piece.
        tokio::task::yield_now().await;
        let Some(frame) = body.frame().await else {
            return place;
        };
        let piece = frame.unwrap().into_data().unwrap();
        for byte in piece {
            assert_eq!(byte, byte_at(key, place), "byte {place}");
            place += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_reply_is_whole_beside_the_next_request() {
    let bench = Bench::new();
    let image = bench.load("rust-echo", Settings::default()).await;
    let counter = bench.load("rust-counter", Settings::default()).await;
    let mut call = bench.call("/");
    *call.request.body_mut() = made(1, STREAMED_BYTES);
    let Run { reply, over, .. } = bench.start(&image).await.run(call).await;
    let body = reply.unwrap().into_body();
    let Over::Later(rest) = over else {
        panic!("a large echo cannot be over before it was read");
    };
    let (is_over, over) = watch::channel(false);
    let (is_served, _) = watch::channel(false);
    let next = async {
        let environment = renewed(rest.await.unwrap()).await;
        is_over.send_replace(true);
        let mut call = bench.call("/");
        *call.request.body_mut() = made(2, 1 << 20);
        let Run { reply, over, .. } = environment.run(call).await;
        let body = reply.unwrap().into_body();
        let end = async {
            match over {
                Over::Now(used) => used.unwrap(),
                Over::Later(rest) => rest.await.unwrap(),
            }
        };
        let (_, never) = watch::channel(false);
        let nothing = watch::Sender::new(true);
        let (used, bytes) = tokio::join!(end, read(body, 2, never, &nothing));
        assert_eq!(bytes, 1 << 20);
        renewed(used).await;
        is_served.send_replace(true);
    };
    let beside = async {
        let mut environment = bench.start(&counter).await;
        for _ in 0..100 {
            let (reply, _, clean) = bench.visit(environment, "/").await;
            assert_eq!(counter_of(&reply), 1);
            environment = clean;
        }
    };
    let (bytes, (), ()) = tokio::join!(read(body, 1, over, &is_served), next, beside);
    assert_eq!(bytes, STREAMED_BYTES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_in_mid_stream_breaks_the_body_off() {
    let bench = Bench::new();
    let image = bench.load("rust-hog", Settings::default()).await;
    let environment = bench.start(&image).await;
    let before = alive(&bench);
    let Run { reply, over, .. } = environment.run(bench.call("/?trap=mid")).await;
    let mut body = reply.unwrap().into_body();
    let Over::Later(rest) = over else {
        panic!("nobody has read the reply");
    };
    let reader = async {
        let mut bytes = 0;
        loop {
            match body.frame().await {
                Some(Ok(frame)) => bytes += frame.into_data().unwrap().len(),
                Some(Err(error)) => return (bytes, error),
                None => panic!("a broken body seems whole after {bytes} bytes"),
            }
        }
    };
    let (ended, (bytes, error)) = tokio::join!(rest, reader);
    assert!(bytes > 0);
    assert!(matches!(error, BodyError::Fault(Fault::Trap)), "{error:?}");
    let Err(Ended::Destroyed { fault, cause }) = ended else {
        panic!("the environment lives on after a trap");
    };
    assert_eq!(fault, Fault::Trap);
    assert!(cause.contains("unreachable"), "{cause}");
    assert_eq!(alive(&bench), before - 1);
}

/// Reads one piece of the reply and goes away; answers what became of the environment.
async fn goes_away(bench: &Bench, body: Body) -> Result<WasmUsed, Ended> {
    let image = bench.load("rust-echo", Settings::default()).await;
    let environment = bench.start(&image).await;
    let mut call = bench.call("/");
    *call.request.body_mut() = body;
    let Run { reply, over, .. } = environment.run(call).await;
    let mut body = reply.unwrap().into_body();
    let Over::Later(rest) = over else {
        panic!("an echo cannot be over before it was read");
    };
    let reader = async move {
        body.frame().await.unwrap().unwrap();
        drop(body);
    };
    tokio::join!(rest, reader).0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_the_environment() {
    let bench = Bench::new();
    let Err(Ended::Destroyed { fault, .. }) = goes_away(&bench, stuck()).await else {
        panic!("the environment lives on, with a guest that waits for ever");
    };
    assert_eq!(fault, Fault::CallerGone);
    assert_eq!(alive(&bench), 0);
}

/// A guest that is writing sees for itself that nobody reads. Where it then returns, its
/// environment is as good as any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_stops_without_a_reader_is_renewed() {
    let bench = Bench::new();
    match goes_away(&bench, made(3, STREAMED_BYTES)).await {
        Ok(used) => {
            let environment = renewed(used).await;
            let (reply, ..) = bench.visit(environment, "/").await;
            assert_eq!(reply, "");
        }
        Err(Ended::Destroyed { fault, .. }) => assert_eq!(fault, Fault::CallerGone),
        Err(other) => panic!("{other}"),
    }
}

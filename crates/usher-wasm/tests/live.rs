//! What live renewal promises beside isolation: areas that take turns, code that is made once,
//! bounds that trap, limits that end one environment and nothing else.
//!
//! `USHER_COUNT` says how many runs the long tests do (1,000 if it is not set).
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "live/areas.rs"]
mod areas;
#[path = "live/bounds.rs"]
mod bounds;
#[path = "guests/by_hand.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod by_hand;
#[path = "live/choice.rs"]
mod choice;
#[path = "live/dumps.rs"]
mod dumps;
mod guests;
#[path = "live/limits.rs"]
mod limits;
#[path = "live/streams.rs"]
mod streams;

use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::StreamBody;
use usher_api::body::{Body, BodyError};
use usher_core::fault::Fault;
use usher_core::function::{Limits, Settings};
use usher_engine::{Call, Ended, Environment, Over, Run, Used, UsedFacts};
use usher_wasm::{WasmEnvironment, WasmUsed};

use guests::Bench;

/// Runs that the long tests do.
fn count() -> usize {
    let told = std::env::var("USHER_COUNT").ok();
    told.map_or(1_000, |count| count.parse().unwrap())
}

fn limited(limits: Limits) -> Settings {
    Settings {
        limits,
        ..Settings::default()
    }
}

fn alive(bench: &Bench) -> u64 {
    bench.engine.counters().alive.load(Ordering::SeqCst)
}

/// A run that ended its environment before there was a reply: the fault and the inner cause, which
/// the caller and the node were told alike.
async fn fails(bench: &Bench, environment: WasmEnvironment, target: &str) -> (Fault, String) {
    fails_call(environment, bench.call(target)).await
}

async fn fails_call(environment: WasmEnvironment, call: Call) -> (Fault, String) {
    let Run { reply, over, .. } = environment.run(call).await;
    let (fault, cause) = reply.map(|_| ()).unwrap_err();
    let Over::Now(Err(Ended::Destroyed {
        fault: ended,
        cause: why,
    })) = over
    else {
        panic!("the environment lives on after {fault:?}: {cause}");
    };
    assert_eq!((&ended, &why), (&fault, &cause));
    (fault, cause)
}

/// A run of a guest by hand, which answers with an error and lives on.
async fn serves(bench: &Bench, environment: WasmEnvironment) -> (UsedFacts, WasmUsed) {
    let Run { reply, facts, over } = environment.run(bench.call("/")).await;
    let (_, cause) = reply.map(|_| ()).unwrap_err();
    assert!(cause.contains("InternalError"), "{cause}");
    let used = match over {
        Over::Now(used) => used,
        Over::Later(rest) => rest.await,
    };
    (facts, used.unwrap())
}

/// Renewed, compared with the image, and scrubbed.
async fn renewed(used: WasmUsed) -> WasmEnvironment {
    let renewed = used.renew(true).await.unwrap();
    if let Some(behind) = renewed.behind {
        behind.scrub();
    }
    renewed.clean
}

/// A body that gives one piece and then nothing more.
fn stuck() -> Body {
    let first = Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"first")));
    let rest = futures_util::stream::pending();
    let pieces = futures_util::stream::iter([first]).chain(rest);
    Body::stream(StreamBody::new(pieces))
}

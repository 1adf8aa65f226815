//! Time, memory and stack have limits; each ends one run with its own fault, and the engine goes
//! on.

use http_body_util::BodyExt;
use usher_api::body::BodyError;
use usher_core::fault::{Fault, TimeLimit};
use usher_core::function::{Limits, Settings};
use usher_engine::{Ended, Environment, Over, Run};

use crate::guests::Bench;
use crate::{alive, by_hand, fails, limited, stuck};

/// Short, so that a test ends soon.
const SHORT_MS: u64 = 100;
/// Long enough for a reply to begin on a busy machine.
const TOTAL_MS: u64 = 1_500;
/// An hour: what a guest asks for that is to be ended.
const ASLEEP: &str = "/?ms=3600000";
const AT_WORK: &str = "/?ms=3600000&spin=1";

/// One run that fails; another environment answers after it.
async fn fails_alone(name: &str, limits: Limits, target: &str) -> (Fault, String) {
    let bench = Bench::new();
    let image = bench.load(name, limited(limits)).await;
    let environment = bench.start(&image).await;
    let before = alive(&bench);
    let ended = fails(&bench, environment, target).await;
    assert_eq!(alive(&bench), before - 1, "{target}");
    let answer = match name {
        "rust-slow" => "/?ms=1",
        _ => "/?grow=1",
    };
    // With limits that an answer keeps within on a busy machine as well.
    let image = bench.load(name, Settings::default()).await;
    let another = bench.start(&image).await;
    let (reply, _, _) = bench.visit(another, answer).await;
    assert!(!reply.is_empty());
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_to_the_first_byte_is_bounded() {
    for target in [ASLEEP, AT_WORK] {
        let limits = Limits {
            first_byte_max_ms: SHORT_MS,
            ..Limits::default()
        };
        let (fault, _) = fails_alone("rust-slow", limits, target).await;
        let limit = TimeLimit::FirstByte;
        let limit_ms = SHORT_MS;
        assert_eq!(fault, Fault::TimeOut { limit, limit_ms }, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_time_is_bounded() {
    for target in [ASLEEP, AT_WORK] {
        let limits = Limits {
            total_max_ms: Some(SHORT_MS),
            ..Limits::default()
        };
        let (fault, _) = fails_alone("rust-slow", limits, target).await;
        let limit = TimeLimit::Total;
        let limit_ms = SHORT_MS;
        assert_eq!(fault, Fault::TimeOut { limit, limit_ms }, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_between_two_pieces_is_bounded() {
    for limits in [
        Limits {
            idle_max_ms: SHORT_MS,
            ..Limits::default()
        },
        Limits {
            total_max_ms: Some(TOTAL_MS),
            ..Limits::default()
        },
    ] {
        let (limit, limit_ms) = match limits.total_max_ms {
            None => (TimeLimit::Idle, SHORT_MS),
            Some(total_ms) => (TimeLimit::Total, total_ms),
        };
        let expected = Fault::TimeOut { limit, limit_ms };
        let bench = Bench::new();
        let image = bench.load("rust-echo", limited(limits)).await;
        let environment = bench.start(&image).await;
        let before = alive(&bench);
        let mut call = bench.call("/");
        *call.request.body_mut() = stuck();
        let Run { reply, over, .. } = environment.run(call).await;
        let body = reply.unwrap().into_body();
        let Over::Later(rest) = over else {
            panic!("a stuck echo cannot be over");
        };
        let (ended, body) = tokio::join!(rest, body.collect());
        let Err(Ended::Destroyed { fault, .. }) = ended else {
            panic!("a stuck echo has ended well");
        };
        assert_eq!(fault, expected);
        let broken = body.map(|_| ()).unwrap_err();
        assert!(matches!(broken, BodyError::Fault(fault) if fault == expected));
        assert_eq!(alive(&bench), before - 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded() {
    let bench = Bench::new();
    let limits = Limits {
        memory_max_mib: 16,
        ..Limits::default()
    };
    let image = bench.try_load(by_hand::hog(), limited(limits)).await;
    let environment = bench.start(&image.unwrap()).await;
    let (fault, _) = fails(&bench, environment, "/").await;
    let memory_max_bytes = 16 << 20;
    assert_eq!(fault, Fault::OutOfMemory { memory_max_bytes });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stack_is_bounded() {
    let bench = Bench::new();
    let image = bench.try_load(by_hand::deep(), Settings::default()).await;
    let environment = bench.start(&image.unwrap()).await;
    let (fault, cause) = fails(&bench, environment, "/").await;
    assert_eq!(fault, Fault::Trap);
    assert!(cause.contains("call stack exhausted"), "{cause}");
    // A stack that the guest keeps in its own memory ends where that memory begins.
    let (fault, _) = fails_alone("rust-hog", Limits::default(), "/?stack=1").await;
    assert_eq!(fault, Fault::Trap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_tells_its_cause() {
    let (fault, cause) = fails_alone("rust-hog", Limits::default(), "/?trap=1").await;
    assert_eq!(fault, Fault::Trap);
    assert!(cause.contains("unreachable"), "{cause}");
}

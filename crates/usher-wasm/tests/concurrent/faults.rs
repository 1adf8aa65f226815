//! What goes wrong, or too far: each ends one environment with a fault of its own, and the engine
//! goes on.

use http_body_util::BodyExt;
use usher_api::body::BodyError;
use usher_core::fault::{Fault, TimeLimit};
use usher_core::function::{Limits, Settings};
use usher_engine::{Ended, Environment, Over, Run};

use crate::guests::Bench;
use crate::{alive, end};

/// Short, so that a test ends soon.
const SHORT_MS: u64 = 100;

fn limited(limits: Limits) -> Settings {
    Settings {
        limits,
        ..Settings::default()
    }
}

/// One run that fails before it has answered; another environment answers after it.
async fn fails_alone(limits: Limits, target: &str) -> (Fault, String) {
    let bench = Bench::new();
    let image = bench.load("rust-p3-hog", limited(limits)).await;
    let environment = bench.start(&image).await;
    let another = bench.start(&image).await;
    let before = alive(&bench);
    let Run { reply, over, .. } = environment.run(bench.call(target)).await;
    let (fault, cause) = reply.map(|_| ()).unwrap_err();
    let Over::Now(Err(Ended::Destroyed { fault: ended, .. })) = over else {
        panic!("{target}: the environment lives on after {fault:?}: {cause}");
    };
    assert_eq!(ended, fault);
    assert_eq!(alive(&bench), before - 1, "{target}");
    let (reply, ..) = bench.visit(another, "/").await;
    assert_eq!(reply, "say what\n");
    (fault, cause)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traps_and_stacks_are_traps() {
    for (target, why) in [("/?trap=1", "unreachable"), ("/?stack=1", "")] {
        let (fault, cause) = fails_alone(Limits::default(), target).await;
        assert_eq!(fault, Fault::Trap, "{target}");
        assert!(cause.contains(why), "{cause}");
    }
}

/// Both a guest that waits, and one that computes and so holds its store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_to_the_first_byte_is_bounded() {
    for target in ["/?wait=1", "/?loop=1"] {
        let bench = Bench::new();
        let image = bench.load(
            "rust-p3-hog",
            limited(Limits {
                first_byte_max_ms: SHORT_MS,
                ..Limits::default()
            }),
        );
        let environment = bench.start(&image.await).await;
        let Run { reply, over, .. } = environment.run(bench.call(target)).await;
        let limit = TimeLimit::FirstByte;
        let limit_ms = SHORT_MS;
        let (fault, _) = reply.map(|_| ()).unwrap_err();
        assert_eq!(fault, Fault::TimeOut { limit, limit_ms }, "{target}");
        assert!(end(over).await.is_err());
        assert_eq!(alive(&bench), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded() {
    let limits = || Limits {
        memory_max_mib: 16,
        ..Limits::default()
    };
    let (fault, _) = fails_alone(limits(), "/?greedy=1").await;
    let memory_max_bytes = 16 << 20;
    assert_eq!(fault, Fault::OutOfMemory { memory_max_bytes });
    let bench = Bench::new();
    let image = bench.load("rust-p3-hog", limited(limits())).await;
    for (target, reply) in [("/?mib=4", "4 MiB"), ("/?mib=64", "refused after")] {
        let (told, ..) = bench.visit(bench.start(&image).await, target).await;
        assert!(told.starts_with(reply), "{told}");
    }
}

/// Streams and timers that a guest keeps have a bound; below it they are no fault.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_holds_for_a_guest_is_bounded() {
    for target in ["/?streams=20000", "/?tasks=20000"] {
        let (fault, cause) = fails_alone(Limits::default(), target).await;
        assert_eq!(fault, Fault::Trap, "{target}: {cause}");
    }
    let bench = Bench::new();
    let image = bench.load("rust-p3-hog", Settings::default()).await;
    let (told, ..) = bench
        .visit(bench.start(&image).await, "/?streams=100")
        .await;
    assert_eq!(told, "100 streams\n");
    let few = limited(Limits {
        handles_max: 50,
        ..Limits::default()
    });
    let image = bench.load("rust-p3-hog", few).await;
    let environment = bench.start(&image).await;
    let Run { reply, .. } = environment.run(bench.call("/?streams=100")).await;
    assert_eq!(reply.map(|_| ()).unwrap_err().0, Fault::Trap);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_of_the_guests_own_is_told() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-hog", Settings::default()).await;
    let environment = bench.start(&image).await;
    let Run { reply, over, .. } = environment.run(bench.call("/?error=1")).await;
    let (fault, cause) = reply.map(|_| ()).unwrap_err();
    assert_eq!(fault, Fault::Trap);
    assert!(cause.contains("LoopDetected"), "{cause}");
    end(over).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_in_mid_stream_breaks_the_body_off() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-hog", Settings::default()).await;
    let environment = bench.start(&image).await;
    let Run { reply, over, .. } = environment.run(bench.call("/?trap=mid")).await;
    let (ended, body) = match reply {
        Ok(reply) => tokio::join!(end(over), reply.into_body().collect()),
        // It trapped before anybody could have seen the head.
        Err((fault, _)) => (end(over).await, Err(BodyError::Fault(fault))),
    };
    let broken = body.map(|_| ()).unwrap_err();
    assert!(
        matches!(broken, BodyError::Fault(Fault::Trap)),
        "{broken:?}"
    );
    let Err(Ended::Destroyed { fault, cause }) = ended else {
        panic!("the environment lives on after a trap");
    };
    assert_eq!(fault, Fault::Trap);
    assert!(cause.contains("unreachable"), "{cause}");
    assert_eq!(alive(&bench), 0);
}

/// What a guest does after its reply belongs to the run: it is waited for, and its output is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_may_go_on_after_its_reply() {
    let bench = Bench::new();
    let image = bench.load("rust-p3-hog", Settings::default()).await;
    let (reply, _, used) = bench.run(bench.start(&image).await, "/?after=50").await;
    assert_eq!(reply, "going on\n");
    let heard = bench.heard.0.lock().clone();
    assert!(heard.iter().any(|(_, text)| text == "done\n"), "{heard:?}");
    drop(used);
}

/// And it is bounded: the caller has its reply, and the environment ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_never_comes_to_its_end_is_ended() {
    let bench = Bench::new();
    let image = bench.load(
        "rust-p3-hog",
        limited(Limits {
            idle_max_ms: SHORT_MS,
            ..Limits::default()
        }),
    );
    let environment = bench.start(&image.await).await;
    let call = bench.call("/?after=3600000");
    let Run { reply, over, .. } = environment.run(call).await;
    let (ended, body) = tokio::join!(end(over), reply.unwrap().into_body().collect());
    assert_eq!(body.unwrap().to_bytes(), "going on\n");
    let Err(Ended::Destroyed { fault, .. }) = ended else {
        panic!("it has ended well after an hour");
    };
    let limit = TimeLimit::Idle;
    let limit_ms = SHORT_MS;
    assert_eq!(fault, Fault::TimeOut { limit, limit_ms });
    assert_eq!(alive(&bench), 0);
}

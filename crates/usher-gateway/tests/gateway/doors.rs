//! The waiting room: who runs, who waits, who is sent away, and who has left.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use usher_api::invoke::{Invocation, Invoker};
use usher_core::function::{Limits, Settings};
use usher_gateway::{Bounds, RouteTable};

use crate::rig::{Fake, Rig, event, figures, outcome, revision, text};

fn limits(concurrency_max: u32, queue_max: u32, queue_wait_max_ms: u64) -> Settings {
    Settings {
        limits: Limits {
            concurrency_max,
            queue_max,
            queue_wait_max_ms,
            ..Limits::default()
        },
        ..Settings::default()
    }
}

/// A function that tells when it begins and ends when it is told to.
fn gated() -> (
    impl Invoker,
    mpsc::UnboundedReceiver<String>,
    Arc<Semaphore>,
) {
    let (begin, begun) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let invoker = Fake(move |invocation: Invocation| {
        let (begin, gate) = (begin.clone(), Arc::clone(&held));
        let who = invocation.request.uri().path().to_owned();
        async move {
            begin.send(who.clone()).unwrap();
            gate.acquire().await.unwrap().forget();
            text(who)
        }
    });
    (invoker, begun, gate)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")
}

#[tokio::test]
async fn a_full_waiting_room_answers_429_and_those_who_wait_are_served_in_order() {
    let (invoker, mut begun, gate) = gated();
    let rig = Rig::single(limits(1, 2, 60_000), invoker).await;
    let mut callers = Vec::new();
    for who in ["/0", "/1", "/2"] {
        let mut raw = rig.connect().await;
        raw.send(&get(who)).await;
        callers.push(raw);
        let inside = callers.len();
        figures(&rig.gauge, |now| now.running + now.waiting == inside).await;
    }
    assert_eq!(rig.gauge.snapshot().waiting, 2);
    let answer = rig.get("/3").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("60"));
    assert_eq!(answer.error()["label"], "busy");
    assert_eq!(answer.error()["blame"], "platform");
    for (at, caller) in callers.iter_mut().enumerate() {
        assert_eq!(event(begun.recv()).await.unwrap(), format!("/{at}"));
        gate.add_permits(1);
        assert_eq!(caller.answer().await.body, format!("/{at}"));
    }
    assert_eq!(outcome(&rig.gauge, "busy"), 1);
    figures(&rig.gauge, |now| now.running == 0).await;
}

#[tokio::test]
async fn with_room_nobody_waits() {
    let (invoker, mut begun, gate) = gated();
    let rig = Rig::single(limits(3, 0, 60_000), invoker).await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut raw = rig.connect().await;
        raw.send(&get("/")).await;
        event(begun.recv()).await.unwrap();
        callers.push(raw);
    }
    assert_eq!(rig.gauge.snapshot().running, 3);
    gate.add_permits(3);
    for caller in &mut callers {
        assert_eq!(caller.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_wait_that_takes_too_long_ends_with_429() {
    let (invoker, mut begun, gate) = gated();
    let rig = Rig::single(limits(1, 1, 1), invoker).await;
    let mut first = rig.connect().await;
    first.send(&get("/first")).await;
    event(begun.recv()).await.unwrap();
    let answer = rig.get("/second").await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(rig.gauge.snapshot().waiting, 0);
    gate.add_permits(1);
    assert_eq!(first.answer().await.body, "/first");
}

#[tokio::test]
async fn who_leaves_while_waiting_gives_the_place_back_and_is_never_run() {
    let (invoker, mut begun, gate) = gated();
    let rig = Rig::single(limits(1, 1, 60_000), invoker).await;
    let mut first = rig.connect().await;
    first.send(&get("/first")).await;
    event(begun.recv()).await.unwrap();
    let mut second = rig.connect().await;
    second.send(&get("/second")).await;
    figures(&rig.gauge, |now| now.waiting == 1).await;
    drop(second);
    figures(&rig.gauge, |now| now.waiting == 0).await;
    let mut third = rig.connect().await;
    third.send(&get("/third")).await;
    figures(&rig.gauge, |now| now.waiting == 1).await;
    gate.add_permits(2);
    assert_eq!(first.answer().await.body, "/first");
    assert_eq!(third.answer().await.body, "/third");
    assert_eq!(event(begun.recv()).await.unwrap(), "/third");
    assert_eq!(outcome(&rig.gauge, "caller-gone"), 1);
}

#[tokio::test]
async fn a_long_line_of_one_function_does_not_keep_another_waiting() {
    let (invoker, mut begun, gate) = gated();
    let table = Arc::new(RouteTable::new());
    table.put(revision("default", "long", limits(8, 100, 60_000)));
    table.put(revision("default", "short", limits(8, 100, 60_000)));
    let bounds = Bounds {
        running_max: 1,
        ..Bounds::default()
    };
    let rig = Rig::start(bounds, table, invoker).await;
    let mut callers = Vec::new();
    for (at, path) in ["/fn/long/0", "/fn/long/1", "/fn/long/2", "/fn/short/3"]
        .into_iter()
        .enumerate()
    {
        let mut raw = rig.connect().await;
        raw.send(&get(path)).await;
        callers.push(raw);
        figures(&rig.gauge, |now| now.running + now.waiting == at + 1).await;
    }
    gate.add_permits(4);
    let mut order = Vec::new();
    for _ in 0..4 {
        order.push(event(begun.recv()).await.unwrap());
    }
    assert_eq!(
        order,
        ["/0", "/1", "/3", "/2"],
        "the short line is next but one"
    );
    for caller in &mut callers {
        assert_eq!(caller.answer().await.status, 200);
    }
}

#[tokio::test]
async fn connections_beyond_the_bound_wait_outside() {
    let bounds = Bounds {
        connections_max: 1,
        ..Bounds::default()
    };
    let rig = Rig::with_bounds(bounds, Settings::default(), Fake(async |_| text("in"))).await;
    let mut first = rig.connect().await;
    first.send(&get("/")).await;
    assert_eq!(first.answer().await.body, "in");
    let mut second = rig.connect().await;
    second.send(&get("/")).await;
    first.send(&get("/")).await;
    assert_eq!(first.answer().await.body, "in");
    assert_eq!(rig.gauge.snapshot().accepted, 1);
    drop(first);
    assert_eq!(second.answer().await.body, "in");
    assert_eq!(rig.gauge.snapshot().accepted, 2);
}

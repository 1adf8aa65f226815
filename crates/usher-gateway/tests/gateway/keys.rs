//! Where state is kept by key: what a request must name, and who waits for whom.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use usher_api::invoke::Invocation;
use usher_core::function::{Isolation, Limits, Settings};

use crate::rig::{Fake, Rig, event, figures, outcome, text};

fn by_key() -> Settings {
    Settings {
        isolation: Isolation::Key("header:x-tenant".parse().unwrap()),
        limits: Limits {
            queue_max: 4,
            queue_wait_max_ms: 60_000,
            ..Limits::default()
        },
        ..Settings::default()
    }
}

/// Answers with the key that the node is given.
fn told(invocation: Invocation) -> String {
    let key = invocation.key.expect("nobody runs without a key");
    String::from_utf8(key.bytes().to_vec()).unwrap()
}

fn get(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n")
}

#[tokio::test]
async fn the_node_is_given_the_header_as_it_is() {
    let invoker = Fake(|invocation| async { text(told(invocation)) });
    let rig = Rig::single(by_key(), invoker).await;
    let longest = "k".repeat(256);
    for key in ["ann", "Ann", "a,b", "a b", longest.as_str()] {
        let answer = rig.once(&get(&format!("X-Tenant:  {key} \r\n"))).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, key));
    }
}

#[tokio::test]
async fn a_request_that_names_no_one_key_is_refused_before_it_waits() {
    let invoker = Fake(|invocation| async { text(told(invocation)) });
    let rig = Rig::single(by_key(), invoker).await;
    let long = format!("x-tenant: {}\r\n", "k".repeat(257));
    let refused = [
        "",
        "x-tenant:\r\n",
        "x-tenant: a\r\nx-tenant: a\r\n",
        "x-tenant: a\r\nX-Tenant: b\r\n",
        "x-tenant: a\r\nconnection: X-Tenant\r\n",
        long.as_str(),
    ];
    for headers in refused {
        let answer = rig.once(&get(headers)).await;
        assert_eq!(answer.status, 400, "{headers}");
        assert_eq!(answer.error()["label"], "bad-key");
        let message = answer.error()["message"].to_string();
        assert!(message.contains("x-tenant"), "{message}");
    }
    assert_eq!(outcome(&rig.gauge, "bad-key"), refused.len() as u64);
    let figures = rig.gauge.snapshot();
    assert_eq!((figures.running, figures.waiting), (0, 0));
}

#[tokio::test]
async fn requests_of_one_key_take_turns_and_hold_up_nobody_else() {
    let (begin, mut begun) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    let invoker = Fake(move |invocation: Invocation| {
        let (begin, gate) = (begin.clone(), Arc::clone(&held));
        async move {
            let key = told(invocation);
            begin.send(key.clone()).unwrap();
            gate.acquire().await.unwrap().forget();
            text(key)
        }
    });
    let rig = Rig::single(by_key(), invoker).await;
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut raw = rig.connect().await;
        raw.send(&get("x-tenant: ann\r\n")).await;
        callers.push(raw);
        let inside = callers.len();
        figures(&rig.gauge, |now| now.running + now.waiting == inside).await;
    }
    assert_eq!(event(begun.recv()).await.unwrap(), "ann");
    assert_eq!(rig.gauge.snapshot().running, 1);
    // One key has half of the waiting room; the others the rest of it.
    let refused = rig.once(&get("x-tenant: ann\r\n")).await;
    assert_eq!(refused.status, 429);
    let mut other = rig.connect().await;
    other.send(&get("x-tenant: bob\r\n")).await;
    assert_eq!(event(begun.recv()).await.unwrap(), "bob");
    // Whoever leaves gives its turn to the next of its key.
    drop(callers.remove(1));
    figures(&rig.gauge, |now| now.waiting == 1).await;
    gate.add_permits(2);
    assert_eq!(callers[0].answer().await.body, "ann");
    assert_eq!(other.answer().await.body, "bob");
    assert_eq!(event(begun.recv()).await.unwrap(), "ann");
    gate.add_permits(1);
    assert_eq!(callers[1].answer().await.body, "ann");
    figures(&rig.gauge, |now| now.running + now.waiting == 0).await;
}

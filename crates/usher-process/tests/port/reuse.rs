//! Connections that are used again, and those that must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use usher_api::body::Body;
use usher_process::contract::port::CallError;

use crate::rig::{Program, get, request, whole};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[tokio::test]
async fn requests_that_may_be_sent_twice_share_a_connection_and_others_do_not() {
    let program = Program::start(|mut raw, _| async move {
        while let Some(head) = raw.head().await {
            if head.starts_with("P") {
                raw.until("body").await;
            }
            raw.send(HELLO).await;
        }
    })
    .await;
    let mut client = program.client();
    for _ in 0..5 {
        assert_eq!(whole(&mut client, get("/")).await.unwrap().text, "hello");
    }
    let put = || request("PUT", "/", Body::from("body".to_owned()));
    assert_eq!(whole(&mut client, put()).await.unwrap().text, "hello");
    assert_eq!(program.connections(), 1);
    let post = || request("POST", "/", Body::from("body".to_owned()));
    for used in 2..5 {
        assert_eq!(whole(&mut client, post()).await.unwrap().text, "hello");
        assert_eq!(program.connections(), used);
    }
    // What a request left behind is kept for the next that may use it.
    assert_eq!(whole(&mut client, get("/")).await.unwrap().text, "hello");
    assert_eq!(program.connections(), 4);
}

/// Answers one request of each connection and closes it without a word, at once or when the next
/// request comes.
async fn silent_closer(lazily: bool) -> (Program, Arc<AtomicUsize>) {
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    let program = Program::start(move |mut raw, _| {
        let counted = Arc::clone(&counted);
        async move {
            if raw.head().await.is_none() {
                return;
            }
            counted.fetch_add(1, SeqCst);
            raw.send(HELLO).await;
            if lazily {
                raw.head().await;
            }
        }
    })
    .await;
    (program, requests)
}

#[tokio::test]
async fn a_program_that_closes_without_a_word_fails_no_request() {
    for lazily in [false, true] {
        let (program, requests) = silent_closer(lazily).await;
        let mut client = program.client();
        for _ in 0..50 {
            assert_eq!(whole(&mut client, get("/")).await.unwrap().text, "hello");
            let post = request("POST", "/", Body::Empty);
            assert_eq!(whole(&mut client, post).await.unwrap().text, "hello");
        }
        assert_eq!(requests.load(SeqCst), 100, "each was answered once");
    }
}

#[tokio::test]
async fn a_program_that_has_closed_once_without_a_word_is_never_trusted_again() {
    let (program, _) = silent_closer(true).await;
    let mut client = program.client();
    for _ in 0..3 {
        whole(&mut client, get("/")).await.unwrap();
    }
    // The second call met the closed connection; the third took a new one straight away.
    assert_eq!(program.connections(), 3);
}

#[tokio::test]
async fn a_connection_that_the_program_gives_up_is_not_used_again() {
    for header in [
        "connection: close",
        "keep-alive: timeout=1",
        "keep-alive: timeout=0",
    ] {
        let program = Program::start(move |mut raw, _| async move {
            while raw.head().await.is_some() {
                let reply = format!("HTTP/1.1 200 OK\r\n{header}\r\ncontent-length: 2\r\n\r\nok");
                raw.send(&reply).await;
            }
        })
        .await;
        let mut client = program.client();
        for used in 1..4 {
            whole(&mut client, get("/")).await.unwrap();
            assert_eq!(program.connections(), used, "{header}");
        }
    }
}

#[tokio::test]
async fn a_request_is_sent_again_only_once_and_only_if_nothing_was_answered() {
    // Answers the first request of a connection, and breaks off within the second answer.
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    let program = Program::start(move |mut raw, _| {
        let counted = Arc::clone(&counted);
        async move {
            raw.head().await;
            counted.fetch_add(1, SeqCst);
            raw.send(HELLO).await;
            if raw.head().await.is_some() {
                counted.fetch_add(1, SeqCst);
                raw.send("HTTP/1.1 200").await;
            }
        }
    })
    .await;
    let mut client = program.client();
    whole(&mut client, get("/")).await.unwrap();
    let error = whole(&mut client, get("/")).await.unwrap_err();
    assert!(matches!(error, CallError::Closed), "{error}");
    assert_eq!(
        requests.load(SeqCst),
        2,
        "it may have run, and was not sent again"
    );
}

#[tokio::test]
async fn a_new_connection_that_is_closed_without_a_word_is_not_tried_again() {
    // Nothing but the request can be the reason, and what it did to the program it would do twice.
    let program = Program::start(|mut raw, number| async move {
        if number == 0 {
            raw.head().await;
        } else {
            raw.send(HELLO).await;
        }
    })
    .await;
    let mut client = program.client();
    let error = whole(&mut client, get("/")).await.unwrap_err();
    assert!(matches!(error, CallError::Closed), "{error}");
    assert_eq!(program.connections(), 1);
    // The program is still there, and the next request finds it.
    assert_eq!(whole(&mut client, get("/")).await.unwrap().text, "hello");
}

#[tokio::test]
async fn bytes_behind_a_reply_are_nobodys_answer() {
    let program = Program::start(|mut raw, number| async move {
        raw.head().await;
        raw.send(&format!(
            "{HELLO}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged"
        ))
        .await;
        raw.head().await;
        assert!(number < 9);
    })
    .await;
    let mut client = program.client();
    for used in 1..4 {
        assert_eq!(whole(&mut client, get("/")).await.unwrap().text, "hello");
        assert_eq!(program.connections(), used);
    }
}

//! Clients that stop in the middle, and what they are told.

use http::Response;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use usher_api::invoke::Invocation;
use usher_core::function::{Limits, Settings};
use usher_gateway::Bounds;

use crate::frames::{DATA, END_HEADERS, Frames, HEADERS, get};
use crate::rig::{Fake, Rig, event, figures, outcome, reply, text};

/// A function that reads all before it answers.
async fn reader(bounds: Bounds, settings: Settings) -> Rig {
    let invoker =
        Fake(
            async |invocation: Invocation| match invocation.request.into_body().collect().await {
                Ok(body) => text(format!("{} bytes", body.to_bytes().len())),
                Err(error) => text(error.to_string()),
            },
        );
    Rig::with_bounds(bounds, settings, invoker).await
}

fn impatient() -> Bounds {
    Bounds {
        body_stall_max_ms: 20,
        ..Bounds::default()
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408_in_both_versions() {
    let rig = reader(impatient(), Settings::default()).await;
    for framing in [
        "content-length: 10\r\n\r\n12345",
        "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
    ] {
        let mut raw = rig.connect().await;
        raw.send(&format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}"))
            .await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 408, "{answer:?}");
        let error = answer.error();
        assert_eq!(
            (&error["label"], &error["blame"]),
            (&"slow-body".into(), &"caller".into())
        );
    }
    let mut frames = Frames::open(&rig).await;
    frames.send(HEADERS, END_HEADERS, 1, &get(&[])).await;
    frames.send(DATA, 0, 1, b"12345").await;
    let text = frames.next_of(&[DATA]).await.unwrap().payload;
    let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(text["error"]["label"], "slow-body");
    figures(&rig.gauge, |now| now.running == 0).await;
    assert_eq!(outcome(&rig.gauge, "slow-body"), 3);
}

#[tokio::test]
async fn a_body_that_keeps_coming_or_that_is_answered_already_may_take_its_time() {
    let rig = reader(
        Bounds {
            body_stall_max_ms: 2_000,
            ..Bounds::default()
        },
        Settings::default(),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n")
        .await;
    for _ in 0..10 {
        raw.send("x").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.answer().await.body, "10 bytes");

    // The function has answered, so that both sides may be silent.
    let rig = Rig::with_bounds(
        impatient(),
        Settings::default(),
        Fake(async |invocation: Invocation| reply(Response::new(invocation.request.into_body()))),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    raw.until("\r\n\r\n").await;
    let mut other = rig.connect().await;
    other
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    other.until("\r\n\r\n").await;
    // Three times as long as a body may stall before the answer.
    let silent = tokio::time::timeout(std::time::Duration::from_millis(60), raw.0.read_u8()).await;
    assert!(silent.is_err(), "it was cut: {silent:?}");
    raw.send("1\r\na\r\n").await;
    assert_eq!(raw.chunk().await.unwrap(), "a");
}

#[tokio::test]
async fn a_client_that_sends_far_too_much_sees_why_it_is_refused() {
    const SENT_BYTES: usize = 64 << 20;
    let settings = Settings {
        limits: Limits {
            body_max_bytes: Some(1_000),
            ..Limits::default()
        },
        ..Settings::default()
    };
    let rig = reader(Bounds::default(), settings).await;
    let head = |framing: &str| format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
    let chunked = format!("{}100000\r\n", head("transfer-encoding: chunked"));
    for (begin, status) in [
        (head("content-length: 1073741824"), 413),
        (chunked, 413),
        ("GET / HTTP/1.1\r\nhost: a\r\nx: ".to_owned(), 431),
        ("GET / HTTP/1.1\r\nbad\nx: ".to_owned(), 400),
    ] {
        let raw = rig.connect().await;
        let (mut read, mut write) = raw.0.into_split();
        write.write_all(begin.as_bytes()).await.unwrap();
        // A client that does not look at the answer before it has sent all.
        let written = tokio::spawn(async move {
            let piece = vec![b'x'; 1 << 20];
            let mut written = 0;
            while written < SENT_BYTES && write.write_all(&piece).await.is_ok() {
                written += piece.len();
            }
            (write, written)
        });
        let (write, written) = event(written).await.unwrap();
        assert_eq!(written, SENT_BYTES, "{status}: it was reset in the middle");
        let mut answer = Vec::new();
        drop(write);
        event(read.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    figures(&rig.gauge, |now| now.connections == 0).await;
}

#[tokio::test]
async fn a_client_that_never_stops_sending_is_cut() {
    for bounds in [
        Bounds {
            linger_max_ms: 20,
            ..Bounds::default()
        },
        Bounds {
            linger_max_bytes: 1 << 20,
            ..Bounds::default()
        },
    ] {
        let rig = reader(bounds, Settings::default()).await;
        let mut raw = rig.connect().await;
        raw.send("GET / HTTP/1.1\nhost: a\r\n\r\n").await;
        let piece = vec![b'x'; 64 << 10];
        event(async { while raw.0.write_all(&piece).await.is_ok() {} }).await;
        figures(&rig.gauge, |now| now.connections == 0).await;
    }
}

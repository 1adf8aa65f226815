//! Bytes of clients who mean no good, or no HTTP.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use usher_api::invoke::Invocation;
use usher_core::function::Settings;
use usher_gateway::Bounds;

use crate::rig::{Fake, Rig, event, figures, text};

/// A function that tells which paths reach it.
async fn spied() -> (Rig, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let rig = Rig::single(
        Settings::default(),
        Fake(move |invocation: Invocation| {
            tell.send(invocation.request.uri().path().to_owned())
                .unwrap();
            async move {
                use http_body_util::BodyExt;
                let read = invocation.request.into_body().collect().await;
                text(if read.is_ok() { "whole" } else { "broken" })
            }
        }),
    )
    .await;
    (rig, told)
}

#[tokio::test]
async fn no_request_is_smuggled_in_the_body_of_another() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    for head in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ncontent-length: 5\r\n",
        "content-length: +4\r\n",
        "content-length: 4, 4\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\x0bchunked\r\n",
    ] {
        let (rig, mut told) = spied().await;
        let mut raw = rig.connect().await;
        raw.send(&format!(
            "POST /first HTTP/1.1\r\nhost: a\r\n{head}\r\n0\r\n\r\n{smuggled}"
        ))
        .await;
        raw.0.shutdown().await.unwrap();
        let bytes = raw.rest().await;
        let answers = String::from_utf8_lossy(&bytes);
        drop(rig);
        let mut reached = Vec::new();
        while let Ok(path) = told.try_recv() {
            reached.push(path);
        }
        assert!(
            !reached.contains(&"/smuggled".to_owned()),
            "{head:?} let one through: {answers}"
        );
    }
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_400_and_ends_the_connection() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let post = |head: &str| format!("POST /first HTTP/1.1\r\nhost: a\r\n{head}\r\n");
    for text in [
        // Two words about where the body ends, or one that not everybody reads.
        post("content-length: 4\r\ntransfer-encoding: chunked\r\n"),
        post("transfer-encoding: chunked\r\ncontent-length: 4\r\n"),
        post("content-length: 4\r\ncontent-length: 4\r\n"),
        post("content-length: 4\r\ncontent-length: 5\r\n"),
        post("content-length: 4, 4\r\n"),
        post("content-length: +4\r\n"),
        post("content-length: 4_0\r\n"),
        post("content-length: 0x4\r\n"),
        post("content-length: 99999999999999999999\r\n"),
        post("content-length:\r\n"),
        post("transfer-encoding: xchunked\r\n"),
        post("transfer-encoding: chunked, identity\r\n"),
        post("transfer-encoding: identity\r\n"),
        post("transfer-encoding: gzip, chunked\r\n"),
        post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        post("transfer-encoding: \"chunked\"\r\n"),
        post("transfer-encoding:\x0bchunked\r\n"),
        // Lines and names that not everybody parts in the same way.
        post("transfer-encoding : chunked\r\n"),
        post("content-length : 4\r\n"),
        post(" content-length: 4\r\n"),
        post("x: y\r\n folded: 1\r\n"),
        post("x: y\r\n\tfolded: 1\r\n"),
        post("x: y\ncontent-length: 4\r\n"),
        post("x: y\rcontent-length: 4\r\n"),
        post("x: y\0\r\n"),
        post("x y: z\r\n"),
        post(": z\r\n"),
        post("no colon\r\n"),
        "GET /first HTTP/1.1\nhost: a\n\n".to_owned(),
        "GET /first HTTP/1.1\r\nhost: a\r\n\n".to_owned(),
        // Hosts and targets.
        "GET /first HTTP/1.1\r\n\r\n".to_owned(),
        "GET /first HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
        "GET /first HTTP/1.1\r\nhost: u@a\r\n\r\n".to_owned(),
        "GET http://a/first HTTP/1.1\r\n\r\n".to_owned(),
        "GET http://a/first HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n".to_owned(),
        "GET ftp://a/first HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET http://u@a/first HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET first HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET /first /second HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "POST /first HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
    ] {
        let (rig, mut told) = spied().await;
        let mut raw = rig.connect().await;
        raw.send(&format!("{text}0\r\n\r\n{smuggled}")).await;
        let head = raw.until("\r\n").await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{text:?}: {head}");
        // What the gateway itself refuses is a whole request, and the next one is another.
        let refused_by_parser = !text.contains("host: u@a")
            && !text.starts_with("GET http")
            && !text.starts_with("GET ftp")
            && !text.contains("host: b")
            && !text.starts_with("CONNECT")
            && text != "GET /first HTTP/1.1\r\n\r\n";
        raw.0.shutdown().await.unwrap();
        event(raw.rest()).await;
        while let Ok(path) = told.try_recv() {
            assert!(path != "/first", "{text:?}");
            assert!(!refused_by_parser, "{text:?} let {path} through");
        }
    }
}

#[tokio::test]
async fn a_bad_chunk_fails_the_read_and_ends_the_connection() {
    for bad in [
        "zz\r\n",
        "-1\r\n",
        "1\r\nab\r\n",
        "ffffffffffffffffff\r\n",
        "1;\nx\r\n",
        "1\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "\r\n",
        "1_0\r\n",
        "0\r\nx: y\n\r\n",
    ] {
        let (rig, _told) = spied().await;
        let mut raw = rig.connect().await;
        raw.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        raw.send(&format!("{bad}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        let bytes = raw.rest().await;
        let answers = String::from_utf8_lossy(&bytes);
        assert!(!answers.contains("whole"), "{bad:?}: {answers}");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_on_one_connection() {
    let (rig, mut told) = spied().await;
    let mut raw = rig.connect().await;
    let post = "POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    raw.send(&format!(
        "GET /a HTTP/1.1\r\nhost: a\r\n\r\n{post}GET /c HTTP/1.1\r\nhost: a\r\n\r\n"
    ))
    .await;
    for path in ["/a", "/b", "/c"] {
        assert_eq!(raw.answer().await.body, "whole");
        assert_eq!(event(told.recv()).await.unwrap(), path);
    }
    assert_eq!(rig.gauge.snapshot().accepted, 1);
}

#[tokio::test]
async fn heads_beyond_the_bounds_are_refused() {
    let (rig, _told) = spied().await;
    let long = "x".repeat(70_000);
    let many = "x: y\r\n".repeat(101);
    for head in [
        format!("GET / HTTP/1.1\r\nhost: a\r\nlong: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
    ] {
        let mut raw = rig.connect().await;
        // The answer may come, and the connection close, before all of it is written.
        let _ = raw.0.write_all(head.as_bytes()).await;
        let head = raw.until("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 431"), "{head}");
    }
}

#[tokio::test]
async fn a_head_that_is_never_finished_is_cut_and_an_unused_connection_too() {
    let bounds = Bounds {
        head_wait_max_ms: 1,
        idle_wait_max_ms: 1,
        ..Bounds::default()
    };
    let rig = Rig::with_bounds(bounds, Settings::default(), Fake(async |_| text("in"))).await;
    let mut slow = rig.connect().await;
    let _ = slow.0.write_all(b"GET / HTTP/1.1\r\nhos").await;
    slow.rest().await;
    let mut silent = rig.connect().await;
    silent.rest().await;
    figures(&rig.gauge, |now| now.connections == 0).await;
}

/// Pieces of which heads are made, so that mutants come near to what is legal.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"CONNECT ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"/",
        b"*",
        b"/fn/only/x?y#z",
        b"http://",
        b"a.localhost:80",
        b"u@h",
        b"[::1]",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b" HTTP/9.9\r\n",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b"host: a\r\n",
        b"host:\r\n",
        b"connection: close, host, content-length\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"content-length: 5\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"transfer-encoding: chunked\r\n",
        b"expect: 100-continue\r\n",
        b"traceparent: 00-\xff\r\n",
        b"te: trailers\r\n",
        b"usher-run: env=1\r\n",
        b"5\r\nabcde\r\n",
        b"0\r\n\r\n",
        b"0\r\nusher-run: x\r\n\r\n",
        b"\0",
    ];
    prop_oneof![
        9 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

#[test]
fn no_bytes_make_it_panic_or_hang() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (rig, mut told) = runtime.block_on(spied());
    let rig = Arc::new(rig);
    let pieces = proptest::collection::vec(piece(), 0..24);
    let config = ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&pieces, |pieces| {
            runtime.block_on(async {
                let mut raw = rig.connect().await;
                let _ = raw.0.write_all(&pieces.concat()).await;
                let _ = raw.0.shutdown().await;
                raw.rest().await;
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        figures(&rig.gauge, |now| now.running == 0 && now.connections == 0).await;
        while told.try_recv().is_ok() {}
        assert_eq!(rig.get("/after").await.body, "whole");
    });
}

//! Calls that go well: what the program sees, and what comes back.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use usher_api::body::Body;
use usher_process::contract::port::{CallError, PortClient};

use crate::rig::{Loopback, Place, Program, event, get, read, request, whole};

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

/// A program that says `hello`, and tells which heads it got.
async fn spied() -> (Program, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let program = Program::start(move |mut raw, _| {
        let tell = tell.clone();
        async move {
            while let Some(head) = raw.head().await {
                tell.send(head).unwrap();
                raw.send(HELLO).await;
            }
        }
    })
    .await;
    (program, told)
}

#[tokio::test]
async fn a_small_reply_comes_whole_and_leaves_nothing_to_drive() {
    let program = Program::saying(HELLO).await;
    let mut client = program.client();
    for _ in 0..3 {
        let answered = event(client.call(get("/"))).await.unwrap();
        assert!(matches!(answered.response.body(), Body::Whole(_)));
        assert!(answered.rest.is_none());
        assert_eq!(read(answered).await.unwrap().text, "hello");
    }
}

#[tokio::test]
async fn the_program_sees_origin_form_and_what_the_gateway_says_and_nothing_of_the_connection() {
    let (program, mut told) = spied().await;
    let mut asked = get("/path?query=1");
    for (name, value) in [
        ("host", "forged.example"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.localhost"),
        ("forwarded", "for=forged"),
        ("connection", "x-hop, keep-alive, content-length"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=9"),
        ("upgrade", "websocket"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("transfer-encoding", "chunked"),
        ("content-length", "7"),
        ("x-kept", "yes"),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    whole(&mut program.client(), asked).await.unwrap();
    let head = told.recv().await.unwrap();
    let mut lines = head.trim_end().split("\r\n");
    assert_eq!(lines.next().unwrap(), "GET /path?query=1 HTTP/1.1");
    let mut lines = lines.collect::<Vec<_>>();
    lines.sort_unstable();
    let expected = [
        "connection: te",
        "content-length: 0",
        "forwarded: for=192.0.2.1;host=a.localhost;proto=http",
        "host: a.localhost",
        "te: trailers",
        "x-forwarded-for: 192.0.2.1",
        "x-forwarded-host: a.localhost",
        "x-forwarded-proto: http",
        "x-kept: yes",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn replies_without_a_body_keep_their_head_and_the_connection() {
    let program = Program::start(|mut raw, _| async move {
        while let Some(head) = raw.head().await {
            let reply = match head.split(' ').nth(1).unwrap() {
                "/head" => "200 OK\r\ncontent-length: 12345",
                "/none" => "204 No Content",
                _ => "304 Not Modified\r\ncontent-length: 9\r\netag: \"e\"",
            };
            raw.send(&format!("HTTP/1.1 {reply}\r\n\r\n")).await;
        }
    })
    .await;
    let mut client = program.client();
    for (method, path, status) in [
        ("HEAD", "/head", 200),
        ("GET", "/none", 204),
        ("GET", "/", 304),
    ] {
        let answered = event(client.call(request(method, path, Body::Empty)))
            .await
            .unwrap();
        assert!(answered.rest.is_none(), "{path}");
        let reply = read(answered).await.unwrap();
        assert_eq!(
            (reply.head.status.as_u16(), reply.text.as_str()),
            (status, "")
        );
        if path == "/head" {
            assert_eq!(reply.head.headers["content-length"], "12345");
        }
    }
    assert_eq!(program.connections(), 1);
}

#[tokio::test]
async fn interim_replies_are_passed_over() {
    let program = Program::saying(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 201 Made\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let reply = whole(&mut program.client(), get("/")).await.unwrap();
    assert_eq!(
        (reply.head.status.as_u16(), reply.text.as_str()),
        (201, "ok")
    );
}

#[tokio::test]
async fn a_reply_of_http_1_0_ends_with_its_connection() {
    let program = Program::start(|mut raw, _| async move {
        raw.head().await;
        raw.send("HTTP/1.0 200 OK\r\nserver: old\r\n\r\nall ").await;
        raw.send("of it").await;
    })
    .await;
    let mut client = program.client();
    for _ in 0..2 {
        let reply = whole(&mut client, get("/")).await.unwrap();
        assert_eq!(reply.text, "all of it");
        assert_eq!(reply.head.version, http::Version::HTTP_11);
    }
    assert_eq!(program.connections(), 2);
}

#[tokio::test]
async fn ready_waits_until_the_program_listens() {
    let place = Place::take();
    let client = PortClient::new(Arc::new(Loopback), place.port());
    let mut ready = Box::pin(client.ready());
    assert!(futures_util::poll!(&mut ready).is_pending());
    tokio::task::yield_now().await;
    assert!(
        futures_util::poll!(&mut ready).is_pending(),
        "nobody listens"
    );
    let address = (Ipv4Addr::LOCALHOST, place.port());
    let _listener = TcpListener::bind(address).await.unwrap();
    event(ready).await.unwrap();
}

#[tokio::test]
async fn a_program_that_is_gone_cannot_be_reached() {
    let place = Place::take();
    let port = place.port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
    let mut client = PortClient::new(Arc::new(Loopback), port);
    event(client.ready()).await.unwrap();
    drop(listener);
    let error = whole(&mut client, get("/")).await.unwrap_err();
    assert!(
        matches!(&error, CallError::Connect { port: at, .. } if *at == port),
        "{error}"
    );
}

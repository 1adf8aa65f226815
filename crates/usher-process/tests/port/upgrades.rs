//! A change of protocol: what reaches the program, and the bytes behind a 101.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Mutex;
use usher_api::body::Body;
use usher_api::upgrade::{Duplex, NotUpgraded, Upgrade};
use usher_process::contract::port::CallError;

use crate::rig::{Program, driven, event, get, whole};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                      upgrade: websocket\r\nsec-websocket-accept: x\r\n\r\n";

/// A request that offers its connection; the other end of that connection.
fn offering(protocols: &str) -> (Request<Body>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(64);
    let mut request = get("/socket");
    let headers = request.headers_mut();
    headers.insert("connection", "keep-alive, Upgrade".parse().unwrap());
    headers.insert("upgrade", protocols.parse().unwrap());
    let granted = async move { Ok(Box::new(theirs) as Box<dyn Duplex>) };
    request
        .extensions_mut()
        .insert(Upgrade::new(Box::pin(granted)));
    (request, ours)
}

/// Changes the protocol and sends everything back until the bytes end with `bye`.
async fn echo() -> Program {
    Program::start(|mut raw, _| async move {
        let head = raw.head().await.unwrap().to_lowercase();
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        // The first bytes of the new protocol come with the head.
        raw.send(&format!("{SWITCH}hi")).await;
        let mut piece = [0; 256];
        loop {
            let Ok(length @ 1..) = raw.0.read(&mut piece).await else {
                return;
            };
            raw.0.write_all(&piece[..length]).await.unwrap();
            if piece[..length].ends_with(b"bye") {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn bytes_go_both_ways_until_the_program_ends() {
    let program = echo().await;
    let (request, mut caller) = offering("websocket");
    let answered = event(program.client().call(request)).await.unwrap();
    let (response, rest) = driven(answered);
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["connection"], "upgrade");
    assert_eq!(response.headers()["sec-websocket-accept"], "x");
    let mut seen = [0; 2];
    event(caller.read_exact(&mut seen)).await.unwrap();
    assert_eq!(&seen, b"hi");
    for text in ["one", "two", "bye"] {
        event(caller.write_all(text.as_bytes())).await.unwrap();
        let mut seen = [0; 3];
        event(caller.read_exact(&mut seen)).await.unwrap();
        assert_eq!(seen, text.as_bytes());
    }
    event(rest).await.unwrap().unwrap();
    assert_eq!(event(caller.read(&mut seen)).await.unwrap(), 0);
}

#[tokio::test]
async fn the_program_hears_when_the_caller_ends() {
    let program = echo().await;
    let (request, caller) = offering("websocket");
    let answered = event(program.client().call(request)).await.unwrap();
    let (_response, rest) = driven(answered);
    drop(caller);
    event(rest).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_passed_to_a_caller_who_left_before_the_101_was_written() {
    let program = echo().await;
    let (mut request, _caller) = offering("websocket");
    let granted = async { Err(NotUpgraded) };
    request
        .extensions_mut()
        .insert(Upgrade::new(Box::pin(granted)));
    let answered = event(program.client().call(request)).await.unwrap();
    let (_response, rest) = driven(answered);
    let error = event(rest).await.unwrap().unwrap_err();
    assert!(matches!(error, CallError::Dropped), "{error}");
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_ended() {
    let program = echo().await;
    let (request, _caller) = offering("websocket");
    let mut client = program.client().tunnel_idle_max(Duration::from_millis(1));
    let answered = event(client.call(request)).await.unwrap();
    let (_response, rest) = driven(answered);
    let error = event(rest).await.unwrap().unwrap_err();
    assert!(
        matches!(error, CallError::Idle { idle_max_ms: 1 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_does_not_change_the_protocol_gives_an_ordinary_reply() {
    let program = Program::saying("HTTP/1.1 426 No\r\ncontent-length: 2\r\n\r\nno").await;
    let (request, mut caller) = offering("websocket");
    let reply = whole(&mut program.client(), request).await.unwrap();
    assert_eq!(
        (reply.head.status.as_u16(), reply.text.as_str()),
        (426, "no")
    );
    let mut seen = [0];
    assert_eq!(
        event(caller.read(&mut seen)).await.unwrap(),
        0,
        "the offer was let go"
    );
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_refused() {
    for chosen in ["h2c", "websocket, h2c", ""] {
        let program = Program::start(move |mut raw, _| async move {
            raw.head().await;
            let head = format!("HTTP/1.1 101 Yes\r\nconnection: upgrade\r\nupgrade: {chosen}\r\n");
            raw.send(&format!("{head}\r\n")).await;
        })
        .await;
        let (request, _caller) = offering("websocket");
        let error = whole(&mut program.client(), request).await.unwrap_err();
        assert!(
            matches!(error, CallError::Malformed(_)),
            "{chosen:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_withdrawn_offer_leaves_no_trace() {
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&heads);
    let program = Program::start(move |mut raw, _| {
        let seen = Arc::clone(&seen);
        async move {
            let head = raw.head().await.unwrap();
            seen.lock().await.push(head.to_lowercase());
            raw.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    let (mut request, _caller) = offering("websocket");
    Upgrade::withdraw(&mut request);
    whole(&mut program.client(), request).await.unwrap();
    // An offer without the means to keep it is none either.
    let (mut request, _caller) = offering("websocket");
    request.extensions_mut().remove::<Upgrade>();
    whole(&mut program.client(), request).await.unwrap();
    for head in heads.lock().await.iter() {
        assert!(
            !head.contains("upgrade") && !head.contains("connection"),
            "{head}"
        );
    }
}

//! A change of protocol, through the gateway to a stand-in for a node and back.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, mpsc};
use usher_api::body::Body;
use usher_api::invoke::{Failure, Invocation, Reply};
use usher_api::upgrade::{Duplex, Granted, Upgrade};
use usher_core::fault::Fault;
use usher_core::function::Settings;
use usher_gateway::{Bounds, Drained};

use crate::rig::{Fake, Rig, event, figures, outcome, reply, text};

const ASK: &str = "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\n\
                   upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

fn switching(protocol: &str) -> Result<Reply, Failure> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert("upgrade", protocol.parse().unwrap());
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("sec-websocket-accept", "x".parse().unwrap());
    reply(response)
}

/// Gives every byte back until the caller ends, or says `bye`.
async fn echo(granted: Granted) {
    let Ok(mut socket) = granted.await else {
        return;
    };
    let mut piece = [0; 64];
    while let Ok(length @ 1..) = socket.read(&mut piece).await {
        socket.write_all(&piece[..length]).await.unwrap();
        socket.flush().await.unwrap();
        if piece[..length].ends_with(b"bye") {
            return;
        }
    }
}

/// A function that changes the protocol wherever that is offered.
async fn echoing(bounds: Bounds) -> Rig {
    let invoker = Fake(|mut invocation: Invocation| async move {
        match Upgrade::take(&mut invocation.request) {
            Some(granted) => {
                tokio::spawn(echo(granted));
                switching("websocket")
            }
            None => text("ordinary"),
        }
    });
    Rig::with_bounds(bounds, Settings::default(), invoker).await
}

#[tokio::test]
async fn bytes_go_both_ways_after_a_101_and_the_request_is_under_way_until_they_end() {
    let rig = echoing(Bounds::default()).await;
    let mut raw = rig.connect().await;
    // What comes right behind the head is of the new protocol already.
    raw.send(&format!("{ASK}early")).await;
    let head = raw.until("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for line in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: x",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
    assert!(head.contains("\r\nusher-run: env=7") && head.contains("\r\nx-request-id: "));
    raw.until("early").await;
    raw.send(SMUGGLED).await;
    raw.until(SMUGGLED).await;
    let now = rig.gauge.snapshot();
    assert_eq!((now.running, now.connections), (1, 1));
    raw.send("bye").await;
    assert_eq!(event(raw.rest()).await, b"bye");
    figures(&rig.gauge, |now| now.running == 0 && now.connections == 0).await;
    assert_eq!(outcome(&rig.gauge, "other"), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_gives_everything_back() {
    let rig = echoing(Bounds::default()).await;
    let mut raw = rig.connect().await;
    raw.send(ASK).await;
    raw.until("\r\n\r\n").await;
    drop(raw);
    figures(&rig.gauge, |now| now.running == 0 && now.connections == 0).await;
}

#[tokio::test]
async fn a_drain_waits_for_what_was_lent_and_cuts_it_in_the_end() {
    let rig = echoing(Bounds::default()).await;
    let mut raw = rig.connect().await;
    raw.send(ASK).await;
    raw.until("\r\n\r\n").await;
    let drained = rig.stop();
    raw.send("still here").await;
    raw.until("still here").await;
    assert!(!drained.is_finished());
    raw.send("bye").await;
    assert_eq!(event(drained).await.unwrap(), Drained { cut: 0 });

    let rig = echoing(Bounds {
        drain_max_ms: 1,
        ..Bounds::default()
    })
    .await;
    let gauge = rig.gauge.clone();
    let mut raw = rig.connect().await;
    raw.send(ASK).await;
    raw.until("\r\n\r\n").await;
    assert_eq!(event(rig.stop()).await.unwrap(), Drained { cut: 1 });
    event(raw.rest()).await;
    figures(&gauge, |now| now.running == 0).await;
}

#[tokio::test]
async fn what_was_not_changed_ends_the_connection_and_what_follows_is_nobodys_request() {
    let paths = Arc::<Mutex<Vec<String>>>::default();
    let (seen, taken) = (Arc::clone(&paths), Arc::<Mutex<Vec<Granted>>>::default());
    let rig = Rig::single(
        Settings::default(),
        Fake(move |mut invocation: Invocation| {
            let path = invocation.request.uri().path().to_owned();
            // A function that takes the offer and keeps it, and one that never looked at it.
            if path != "/ignored" {
                let offer = Upgrade::take(&mut invocation.request);
                taken.lock().extend(offer);
            }
            seen.lock().push(path.clone());
            async move {
                match path.as_str() {
                    "/unasked" => switching("chess"),
                    "/unnamed" => switching(""),
                    "/failed" => Err(Fault::Trap.into()),
                    _ => text("no"),
                }
            }
        }),
    )
    .await;
    for (path, status) in [
        ("/refused", 200),
        ("/ignored", 200),
        ("/failed", 502),
        ("/unasked", 502),
        ("/unnamed", 502),
    ] {
        let mut raw = rig.connect().await;
        raw.send(&format!("{}{SMUGGLED}", ASK.replace("/socket", path)))
            .await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert_eq!(answer.header("upgrade"), None, "{path}");
        assert_eq!(event(raw.rest()).await, b"", "{path}");
    }
    figures(&rig.gauge, |now| now.running == 0 && now.connections == 0).await;
    assert_eq!(paths.lock().len(), 5, "{:?}", paths.lock());
}

#[tokio::test]
async fn a_101_from_a_function_that_did_not_take_the_offer_is_no_answer() {
    let rig = Rig::single(Settings::default(), Fake(async |_| switching("websocket"))).await;
    assert_eq!(rig.once(ASK).await.status, 502);
    // The same of a request that offers nothing.
    assert_eq!(rig.get("/").await.status, 502);
}

/// A function that tells which heads reach it, and whether with an offer.
async fn spied() -> (Rig, mpsc::UnboundedReceiver<(HeaderMap, bool)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let invoker = Fake(move |mut invocation: Invocation| {
        let offered = Upgrade::take(&mut invocation.request).is_some();
        let headers = invocation.request.headers().clone();
        tell.send((headers, offered)).unwrap();
        async { text("ordinary") }
    });
    (Rig::single(Settings::default(), invoker).await, told)
}

#[tokio::test]
async fn an_offer_keeps_two_headers_of_the_connection_and_no_other() {
    let (rig, mut told) = spied().await;
    let head = ASK.replace(
        "\r\nupgrade",
        ", x-hop\r\nx-hop: 1\r\nkeep-alive: 1\r\nupgrade",
    );
    rig.once(&head).await;
    let (headers, offered) = told.recv().await.unwrap();
    assert!(offered);
    assert_eq!(headers["connection"], "upgrade");
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["sec-websocket-version"], "13");
    assert!(!headers.contains_key("x-hop") && !headers.contains_key("keep-alive"));
}

#[tokio::test]
async fn requests_that_may_not_change_the_protocol_are_ordinary_ones() {
    let (rig, mut told) = spied().await;
    let (connection, upgrade) = ("connection: upgrade\r\n", "upgrade: websocket\r\n");
    for (version, headers) in [
        ("1.1", upgrade.to_owned()),
        ("1.1", connection.to_owned()),
        ("1.1", format!("{connection}upgrade:\r\n")),
        ("1.1", format!("{connection}{upgrade}{upgrade}")),
        // Requests would pass the gateway unseen in these.
        (
            "1.1",
            format!("{connection}upgrade: h2c\r\nhttp2-settings: AAA\r\n"),
        ),
        ("1.1", format!("{connection}upgrade: websocket, H2C\r\n")),
        ("1.1", format!("{connection}upgrade: HTTP/2.0\r\n")),
        ("1.1", format!("{connection}upgrade: TLS/1.2\r\n")),
        // Where the body ends is not to be argued about.
        (
            "1.1",
            format!("{connection}{upgrade}transfer-encoding: chunked\r\n"),
        ),
        ("1.1", format!("{connection}{upgrade}content-length: 5\r\n")),
        ("1.0", format!("{connection}{upgrade}")),
    ] {
        let body = match (headers.contains("chunked"), headers.contains("length")) {
            (true, _) => "0\r\n\r\n",
            (_, true) => "12345",
            _ => "",
        };
        let head = format!("GET / HTTP/{version}\r\nhost: a\r\n{headers}\r\n{body}");
        let mut raw = rig.connect().await;
        raw.send(&head).await;
        let answer = raw.answer().await;
        assert_eq!(answer.status, 200, "{head}");
        let (seen, offered) = told.recv().await.unwrap();
        assert!(!offered, "{head}");
        assert!(
            !seen.contains_key("upgrade") && !seen.contains_key("connection"),
            "{head}"
        );
        if version == "1.1" {
            raw.send(SMUGGLED).await;
            assert_eq!(
                raw.answer().await.status,
                200,
                "the connection goes on: {head}"
            );
            told.recv().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_function_that_lets_go_of_its_offer_ends_the_connection() {
    let rig = Rig::single(
        Settings::default(),
        Fake(|mut invocation: Invocation| async move {
            drop(Upgrade::take(&mut invocation.request));
            switching("websocket")
        }),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send(&format!("{ASK}{SMUGGLED}")).await;
    raw.until("\r\n\r\n").await;
    assert_eq!(event(raw.rest()).await, b"");
    figures(&rig.gauge, |now| now.running == 0 && now.connections == 0).await;
}

#[tokio::test]
async fn a_lent_connection_is_cut_while_its_function_only_writes_or_only_reads() {
    for reads in [true, false] {
        let cut = Arc::<Notify>::default();
        let noticed = Arc::clone(&cut);
        let bounds = Bounds {
            drain_max_ms: 1,
            ..Bounds::default()
        };
        let invoker = Fake(move |mut invocation: Invocation| {
            let granted = Upgrade::take(&mut invocation.request).unwrap();
            let noticed = Arc::clone(&noticed);
            tokio::spawn(async move {
                let mut socket: Box<dyn Duplex> = granted.await.unwrap();
                let piece = &mut [b'x'; 4096];
                while match reads {
                    true => socket.read(piece).await.is_ok_and(|length| length > 0),
                    false => socket.write_all(piece).await.is_ok(),
                } {}
                noticed.notify_one();
            });
            async { switching("websocket") }
        });
        let rig = Rig::with_bounds(bounds, Settings::default(), invoker).await;
        let mut raw = rig.connect().await;
        raw.send(ASK).await;
        raw.until("\r\n\r\n").await;
        assert_eq!(event(rig.stop()).await.unwrap(), Drained { cut: 1 });
        event(cut.notified()).await;
    }
}

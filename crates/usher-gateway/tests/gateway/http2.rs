//! HTTP/2 in clear text: what is the same as on HTTP/1.1, and what only it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use usher_api::body::{Body, BodyError};
use usher_api::invoke::Invocation;
use usher_core::fault::Fault;
use usher_core::function::{Limits, Settings};
use usher_gateway::{Bounds, Drained, RouteTable};

use crate::frames::{self, Frames};
use crate::rig::{
    Fake, PROOF, Rig, alarm, data, event, fed, figures, outcome, reply, revision, text,
};

/// One connection to a gateway.
pub(crate) async fn connect(rig: &Rig) -> SendRequest<Body> {
    let socket = TcpStream::connect(rig.address).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

fn get(path: &str) -> Request<Body> {
    let uri = format!("http://a.localhost:80{path}");
    Request::get(uri).body(Body::Empty).unwrap()
}

async fn ask(client: &mut SendRequest<Body>, request: Request<Body>) -> Response<Incoming> {
    event(client.send_request(request)).await.unwrap()
}

async fn whole(response: Response<Incoming>) -> String {
    let body = event(response.into_body().collect()).await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_function_sees_a_head_of_http_1() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let rig = Rig::single(
        Settings::default(),
        Fake(move |invocation: Invocation| {
            tell.send(invocation.request.into_parts().0).unwrap();
            async { text("answer") }
        }),
    )
    .await;
    let mut client = connect(&rig).await;
    let mut request = get("/path?query");
    let headers = request.headers_mut();
    for (name, value) in [
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("usher-run", "env=1"),
        ("forwarded", "for=1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "1"),
        ("proxy-authorization", "x"),
        ("x-kept", "yes"),
    ] {
        headers.append(name, value.parse().unwrap());
    }
    let response = ask(&mut client, request).await;
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(response.headers()["usher-run"], PROOF.to_string());
    assert_eq!(whole(response).await, "answer");
    let parts = told.recv().await.unwrap();
    assert_eq!(parts.uri, "http://a.localhost:80/path?query");
    let mut names: Vec<_> = parts.headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "cookie",
            "host",
            "te",
            "traceparent",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-kept",
            "x-request-id"
        ]
    );
    let cookies: Vec<_> = parts.headers.get_all("cookie").iter().collect();
    assert_eq!(cookies, ["a=1; b=2"]);
    assert_eq!(parts.headers["host"], "a.localhost:80");
    assert_eq!(parts.headers["x-forwarded-host"], "a.localhost:80");
    assert_eq!(parts.headers["x-forwarded-proto"], "http");
}

#[tokio::test]
async fn the_same_addresses_lead_to_the_same_functions() {
    let table = Arc::new(RouteTable::new());
    table.put(revision("default", "hello", Settings::default()));
    let rig = Rig::start(
        Bounds::default(),
        table,
        Fake(async |invocation: Invocation| text(invocation.request.uri().to_string())),
    )
    .await;
    let mut client = connect(&rig).await;
    for (uri, status, seen) in [
        ("http://hello.localhost/a", 200, "http://hello.localhost/a"),
        ("http://x/fn/hello/a", 200, "http://x/a"),
        ("http://other.localhost/a", 404, ""),
        ("http://u@hello.localhost/a", 400, ""),
        ("ftp://hello.localhost/a", 400, ""),
    ] {
        let request = Request::get(uri).body(Body::Empty).unwrap();
        let response = ask(&mut client, request).await;
        assert_eq!(response.status(), status, "{uri}");
        let body = whole(response).await;
        assert!(status != 200 || body == seen, "{uri}: {body}");
    }
    let mut request = Request::get("http://hello.localhost/").body(Body::Empty);
    let headers = request.as_mut().unwrap().headers_mut();
    headers.insert("host", "other.localhost".parse().unwrap());
    let response = ask(&mut client, request.unwrap()).await;
    assert_eq!(response.status(), 400, "the host contradicts the authority");
}

#[tokio::test]
async fn many_requests_run_at_once_on_one_connection() {
    const MANY: usize = 50;
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let rig = Rig::single(
        Settings::default(),
        Fake(move |invocation: Invocation| {
            let gate = Arc::clone(&held);
            async move {
                gate.notified().await;
                text(invocation.request.uri().path().to_owned())
            }
        }),
    )
    .await;
    let client = connect(&rig).await;
    let requests: Vec<_> = (0..MANY)
        .map(|at| {
            let mut client = client.clone();
            tokio::spawn(async move {
                let response = ask(&mut client, get(&format!("/{at}"))).await;
                assert_eq!(whole(response).await, format!("/{at}"));
            })
        })
        .collect();
    figures(&rig.gauge, |now| now.running == MANY).await;
    assert_eq!(rig.gauge.snapshot().accepted, 1);
    gate.notify_waiters();
    for request in requests {
        event(request).await.unwrap();
    }
    figures(&rig.gauge, |now| now.running == 0).await;
    assert_eq!(outcome(&rig.gauge, "2xx"), MANY as u64);
}

#[tokio::test]
async fn every_frame_arrives_before_the_next_one_is_made_and_trailers_end_the_reply() {
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let rig = Rig::single(
        Settings::default(),
        Fake(move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async { reply(Response::new(body)) }
        }),
    )
    .await;
    let mut client = connect(&rig).await;
    let mut body = ask(&mut client, get("/")).await.into_body();
    for piece in ["one", "two"] {
        feed.send(data(piece)).unwrap();
        let frame = event(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert("usher-run", "forged".parse().unwrap());
    feed.send(Ok(Frame::trailers(trailers))).unwrap();
    drop(feed);
    let frame = event(body.frame()).await.unwrap().unwrap();
    let trailers = frame.into_trailers().unwrap();
    assert_eq!(trailers.len(), 1);
    assert_eq!(trailers["grpc-status"], "0");
    figures(&rig.gauge, |_| outcome(&rig.gauge, "2xx") == 1).await;
}

#[tokio::test]
async fn a_request_is_answered_while_it_is_still_being_sent() {
    let rig = Rig::single(
        Settings::default(),
        Fake(async |invocation: Invocation| reply(Response::new(invocation.request.into_body()))),
    )
    .await;
    let mut client = connect(&rig).await;
    let (feed, body) = fed();
    let mut request = get("/");
    *request.method_mut() = Method::POST;
    *request.body_mut() = body;
    let mut body = ask(&mut client, request).await.into_body();
    for piece in ["a", "b", "c"] {
        feed.send(data(piece)).unwrap();
        let frame = event(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(feed);
    let rest = event(body.collect()).await.unwrap();
    assert_eq!(rest.to_bytes(), "");
}

#[tokio::test]
async fn a_failure_after_the_head_resets_the_stream_and_the_connection_goes_on() {
    for round in 0..100 {
        let rig = Rig::single(
            Settings::default(),
            Fake(
                async move |invocation: Invocation| match invocation.request.uri().path() {
                    "/fails" => {
                        let (feed, body) = fed();
                        feed.send(data("first")).unwrap();
                        feed.send(Err(BodyError::Fault(Fault::Trap))).unwrap();
                        reply(Response::new(body))
                    }
                    _ => text("sound"),
                },
            ),
        )
        .await;
        let mut client = connect(&rig).await;
        let response = ask(&mut client, get("/fails")).await;
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let first = event(body.frame()).await.unwrap();
        let first = first.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(
            first.into_data().unwrap(),
            "first",
            "what came before is the caller's"
        );
        let error = event(body.frame()).await.unwrap().unwrap_err();
        assert!(
            error.to_string().contains("error reading a body"),
            "{error}"
        );
        let sound = ask(&mut client, get("/sound")).await;
        assert_eq!(whole(sound).await, "sound");
        figures(&rig.gauge, |now| now.running == 0).await;
        assert_eq!(outcome(&rig.gauge, "trap"), 1);
        assert_eq!(rig.gauge.snapshot().accepted, 1);
    }
}

#[tokio::test]
async fn a_caller_who_does_not_read_stops_the_function_and_others_on_its_connection_go_on() {
    const FRAME_BYTES: usize = 64 * 1024;
    const FRAMES: u64 = 1_024;
    let made = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&made);
    let rig = Rig::single(
        Settings::default(),
        Fake(move |invocation: Invocation| {
            let made = Arc::clone(&counted);
            async move {
                if invocation.request.uri().path() == "/small" {
                    return text("small");
                }
                let frames = futures_util::stream::iter(0..FRAMES);
                let frames = futures_util::StreamExt::map(frames, move |_| {
                    made.fetch_add(1, Relaxed);
                    Ok(Frame::data(Bytes::from(vec![b'x'; FRAME_BYTES])))
                });
                let body = http_body_util::StreamBody::new(frames);
                reply(Response::new(Body::stream(body)))
            }
        }),
    )
    .await;
    let mut client = connect(&rig).await;
    let response = ask(&mut client, get("/large")).await;
    let mut other = connect(&rig).await;
    let mut before = u64::MAX;
    while before != made.load(Relaxed) {
        before = made.load(Relaxed);
        for _ in 0..50 {
            assert_eq!(whole(ask(&mut other, get("/small")).await).await, "small");
        }
    }
    assert!(before < FRAMES, "all {before} frames were made for nobody");
    let body = event(response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes().len() as u64, FRAMES * FRAME_BYTES as u64);
}

#[tokio::test]
async fn replies_without_a_body_and_those_that_are_announced_end_where_they_should() {
    let rig = Rig::single(
        Settings::default(),
        Fake(async |invocation: Invocation| {
            let mut response = Response::new(Body::from("hello".to_owned()));
            match invocation.request.uri().path() {
                "/204" => {
                    *response.status_mut() = StatusCode::NO_CONTENT;
                    *response.body_mut() = Body::Empty;
                }
                // A function that goes on when all that it announced is there.
                "/more" => {
                    let (feed, body) = fed();
                    feed.send(data("12")).unwrap();
                    feed.send(data("345")).unwrap();
                    std::mem::forget(feed);
                    *response.body_mut() = body;
                    let headers = response.headers_mut();
                    headers.insert("content-length", "4".parse().unwrap());
                }
                "/short" => {
                    let (feed, body) = fed();
                    feed.send(data("12")).unwrap();
                    *response.body_mut() = body;
                    let headers = response.headers_mut();
                    headers.insert("content-length", "4".parse().unwrap());
                }
                "/large" => *response.body_mut() = Body::from("x".repeat(1 << 20)),
                _ => {}
            }
            reply(response)
        }),
    )
    .await;
    let mut client = connect(&rig).await;
    let mut head = get("/");
    *head.method_mut() = Method::HEAD;
    let response = ask(&mut client, head).await;
    assert_eq!(response.headers()["content-length"], "5");
    assert_eq!(whole(response).await, "");
    for (path, status, body) in [
        ("/204", 204, ""),
        ("/", 200, "hello"),
        ("/more", 200, "1234"),
    ] {
        let response = ask(&mut client, get(path)).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(whole(response).await, body, "{path}");
    }
    let large = whole(ask(&mut client, get("/large")).await).await;
    assert_eq!(large.len(), 1 << 20);
    let response = ask(&mut client, get("/short")).await;
    assert!(event(response.into_body().collect()).await.is_err());
    figures(&rig.gauge, |_| outcome(&rig.gauge, "trap") == 1).await;
}

#[tokio::test]
async fn a_client_that_resets_its_request_cancels_the_invocation() {
    let (held, dropped) = alarm();
    let held = std::sync::Mutex::new(Some(held));
    let rig = Rig::single(
        Settings::default(),
        Fake(move |_| {
            let held = held.lock().unwrap().take();
            async move {
                let _held = held;
                std::future::pending().await
            }
        }),
    )
    .await;
    let mut frames = Frames::open(&rig).await;
    frames.ask(1, &frames::get(&[])).await;
    figures(&rig.gauge, |now| now.running == 1).await;
    frames.give_up(1).await;
    event(dropped).await.unwrap();
    figures(&rig.gauge, |now| now.running == 0 && now.connections == 1).await;
    assert_eq!(outcome(&rig.gauge, "caller-gone"), 1);
}

#[tokio::test]
async fn a_drain_says_so_finishes_what_is_in_flight_and_closes() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let rig = Rig::single(
        Settings::default(),
        Fake(move |_| {
            let gate = Arc::clone(&held);
            async move {
                gate.notified().await;
                text("in time")
            }
        }),
    )
    .await;
    let gauge = rig.gauge.clone();
    let mut idle = Frames::open(&rig).await;
    let mut client = connect(&rig).await;
    let asked = client.send_request(get("/"));
    let asked = tokio::spawn(asked);
    figures(&gauge, |now| now.running == 1 && now.connections == 2).await;
    let drained = rig.stop();
    // A farewell with a ping, whose answer tells that the client has seen it.
    assert_eq!(idle.next_of(&[frames::GOAWAY]).await.unwrap().code(), 0);
    let ping = idle.next_of(&[frames::PING]).await.unwrap();
    idle.send(frames::PING, 1, 0, &ping.payload).await;
    assert_eq!(idle.farewell().await, Some(0));
    assert!(!drained.is_finished());
    gate.notify_one();
    let response = event(asked).await.unwrap().unwrap();
    assert_eq!(whole(response).await, "in time");
    assert_eq!(event(drained).await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_413_and_the_connection_goes_on() {
    let settings = Settings {
        limits: Limits {
            body_max_bytes: Some(10),
            ..Limits::default()
        },
        ..Settings::default()
    };
    let rig = Rig::single(
        settings,
        Fake(async |invocation: Invocation| {
            let read = invocation.request.into_body().collect().await;
            text(if read.is_ok() { "whole" } else { "broken" })
        }),
    )
    .await;
    let mut client = connect(&rig).await;
    let post = |body: Body| {
        let mut request = get("/");
        *request.method_mut() = Method::POST;
        *request.body_mut() = body;
        request
    };
    let announced = ask(&mut client, post(Body::from("x".repeat(1 << 20)))).await;
    assert_eq!(announced.status(), 413);
    let (feed, body) = fed();
    feed.send(data("12345678")).unwrap();
    feed.send(data("90a")).unwrap();
    let streamed = ask(&mut client, post(body)).await;
    assert_eq!(streamed.status(), 413);
    let sound = ask(&mut client, post(Body::from("x".repeat(10)))).await;
    assert_eq!(whole(sound).await, "whole");
    assert_eq!(rig.gauge.snapshot().accepted, 1);
}

#[tokio::test]
async fn both_versions_are_told_apart_however_the_first_bytes_come() {
    let rig = Rig::single(Settings::default(), Fake(async |_| text("answer"))).await;
    for first in ["G", "P", "PO", "PR", "PRI"] {
        let is_second = first.starts_with("PR");
        let rest = match is_second {
            true => "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            false if first == "G" => "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
            false => "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        };
        let mut raw = rig.connect().await;
        raw.send(first).await;
        // The gateway has had its look at what is there.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        raw.send(&rest[first.len()..]).await;
        if is_second {
            let mut frames = Frames(raw.0);
            frames.send(frames::SETTINGS, 0, 0, &[]).await;
            assert_eq!(frames.next().await.unwrap().kind, frames::SETTINGS);
        } else {
            assert_eq!(raw.answer().await.body, "answer", "{first}");
        }
    }
    // A method whose name begins like the preface is none of HTTP/2.
    let answer = rig
        .once("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(answer.body, "answer");
}

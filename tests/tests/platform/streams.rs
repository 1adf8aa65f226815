//! Bodies that stream through a function: of any length at flat memory, and left in the middle.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usher_api::body::{Body, BodyError};
use usher_core::id::{FunctionKey, Name};

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;
use crate::{count, event, example};

const MIB: u64 = 1 << 20;
/// By how much the server's memory may grow while a body streams through it, in KiB.
const GROWTH_MAX_KIB: u64 = 32 * 1024;
/// No power of two, so that chunks that are lost, doubled or swapped are seen.
const PATTERN_BYTES: u64 = 65_521;

/// What stands in a body from `offset` on, at most to the pattern's end.
fn pattern(offset: u64, whole: &Bytes) -> Bytes {
    whole.slice((offset % PATTERN_BYTES) as usize..)
}

fn whole_pattern() -> Bytes {
    let mixed = |nth: u64| (nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..PATTERN_BYTES).map(mixed).collect::<Vec<_>>().into()
}

/// A body of so many bytes, made as it is sent.
fn body(length: u64) -> Body {
    let whole = whole_pattern();
    let frames = stream::unfold(0, move |sent| {
        let mut chunk = pattern(sent, &whole);
        let rest = usize::try_from(length - sent).unwrap_or(usize::MAX);
        chunk.truncate(rest);
        let now = sent + chunk.len() as u64;
        let frame = (!chunk.is_empty()).then(|| (Ok(Frame::data(chunk)), now));
        std::future::ready(frame)
    });
    Body::stream(StreamBody::new(frames))
}

/// Reads a body to its end, and holds each byte to the one that was sent. Answers its length.
async fn compare(mut body: Incoming) -> u64 {
    let whole = whole_pattern();
    let mut received = 0;
    while let Some(frame) = event("a frame", body.frame()).await {
        let mut data = frame.unwrap().into_data().unwrap();
        while !data.is_empty() {
            let mut expected = pattern(received, &whole);
            expected.truncate(data.len());
            let now = data.split_to(expected.len());
            assert!(now == expected, "other bytes behind {received}");
            received += now.len() as u64;
        }
    }
    received
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_body_streams_back_at_flat_memory() {
    let server = Server::serve(&example("rust-echo")).await;
    let caller = Caller::new(server.gateway);
    let echo = async |length: u64| {
        let request = caller.request("/").method("POST").body(body(length));
        let answer = caller.send(request.unwrap()).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(compare(answer.into_body()).await, length);
    };
    echo(8 * MIB).await;
    let before = server.peak_kib();
    echo(if count() >= 100_000 { 1024 } else { 64 } * MIB).await;
    let grown = server.peak_grown_kib(before);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than {before}");
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// It closes, all read.
    Closing,
    /// It is gone: what comes for it meets a reset.
    Unread,
}

/// Leaves in the middle of a request and of its reply, a part of which has come back.
async fn leave(server: &Server, how: Leave) {
    let mut socket = begin(server, "/fn/echo/").await;
    let mut received = Vec::new();
    pass_on(&mut socket, &mut received, "first").await;
    if let Leave::Unread = how {
        chunk(&mut socket, "second").await;
        // The first byte of the second chunk is there, and others are not read any more.
        event("a byte", socket.read_u8()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_in_mid_stream_costs_nobody_else() {
    let data = Folder::new();
    // One at a time: whoever comes next is served only once the one who left is forgotten.
    let lines = "[limits]\nconcurrency_max = 1\n";
    let function = Folder::function("echo", "rust-echo", lines);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    let caller = Caller::new(server.gateway);
    for how in [Leave::Closing, Leave::Unread].repeat(8) {
        leave(&server, how).await;
        let request = caller.request("/fn/echo/").method("POST").body(body(MIB));
        let answer = caller.send(request.unwrap()).await;
        assert_eq!(answer.status(), 200, "{how:?}");
        assert_eq!(compare(answer.into_body()).await, MIB, "{how:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_its_reply_is_not_waited_for() {
    let data = Folder::new();
    let lines = "[limits]\nconcurrency_max = 1\nfirst_byte_max_ms = 3600000\n";
    let function = Folder::function("slow", "rust-slow", lines);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    let key = FunctionKey {
        owner: Name::default_owner(),
        name: "slow".parse().unwrap(),
    };
    for query in ["ms=3600000", "ms=3600000&spin=1"] {
        let mut socket = TcpStream::connect(server.gateway).await.unwrap();
        let head = format!("GET /fn/slow/?{query} HTTP/1.1\r\nhost: a\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        let busy = async { while server.client().show(&key).await.unwrap().status.busy == 0 {} };
        event("it runs", busy).await;
        drop(socket);
        let answer = Caller::new(server.gateway).get("/fn/slow/?ms=0").await;
        assert_eq!(answer.text(), "0 ms", "{query}");
    }
}

/// Sends the head of a request whose body follows in chunks.
async fn begin(server: &Server, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(server.gateway).await.unwrap();
    let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Sends a chunk, and answers how it looks on the wire. No text is the final one.
async fn chunk(socket: &mut TcpStream, text: &str) -> String {
    let chunk = format!("{:X}\r\n{text}\r\n", text.len());
    socket.write_all(chunk.as_bytes()).await.unwrap();
    chunk
}

/// Sends a chunk, and reads until it comes back.
async fn pass_on(socket: &mut TcpStream, received: &mut Vec<u8>, text: &str) {
    let chunk = chunk(socket, text).await;
    while !received.ends_with(chunk.as_bytes()) {
        let byte = event("a chunk comes back", socket.read_u8()).await;
        received.push(byte.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_chunk_is_passed_on_before_the_next_one_is_sent() {
    let server = Server::serve(&example("rust-echo")).await;
    let mut socket = begin(&server, "/").await;
    let mut received = Vec::new();
    for nth in 0..10 {
        pass_on(&mut socket, &mut received, &format!("word{nth}")).await;
    }
    pass_on(&mut socket, &mut received, "").await;
    let received = String::from_utf8(received).unwrap();
    assert!(received.ends_with("word9\r\n0\r\n\r\n"), "{received}");
}

/// What a body that breaks off in the sender's hands does not become: one that ended well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_breaks_off_gives_no_whole_reply() {
    let server = Server::serve(&example("rust-echo")).await;
    let caller = Caller::new(server.gateway);
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"some"))),
        Err(BodyError::Broken("the test says so".to_owned())),
    ];
    let broken = Body::stream(StreamBody::new(stream::iter(frames)));
    let request = caller.request("/").method("POST").body(broken).unwrap();
    let whole = match caller.try_send(request).await {
        Ok(answer) => event("the reply ends", answer.into_body().collect())
            .await
            .is_ok(),
        Err(_) => false,
    };
    assert!(!whole);
    assert_eq!(caller.get("/").await.status, 200);
}

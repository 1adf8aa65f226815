//! Components of wasi:http 0.3: deployed, served fresh, kept where that is asked for, and left in
//! mid-stream, as users meet them.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usher_api::body::{Body, BodyError};

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;
use crate::{event, example};

const TOOL_CHAINS: [&str; 3] = ["rust-p3", "js-p3", "py-p3"];
const RUNS: usize = 10;
const MIB: usize = 1 << 20;
/// By how much the server's memory may grow while a body streams through it, in KiB.
const GROWTH_MAX_KIB: u64 = 48 * 1024;
/// Room for slow starts while others build beside this test.
const PATIENT: &str = "[limits]\nqueue_wait_max_ms = 60000\n";

/// A platform with one function, `it`.
struct Rig {
    server: Server,
    caller: Caller,
    _folders: [Folder; 2],
}

impl Rig {
    async fn new(component: &str, lines: &str) -> Self {
        let (data, function) = (Folder::new(), Folder::function("it", component, lines));
        let server = Server::up(data.path()).await;
        server.run(&["deploy", function.text()]).await.done();
        Self {
            caller: Caller::new(server.gateway),
            server,
            _folders: [data, function],
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_of_03_answer_and_are_served_fresh() {
    for chain in TOOL_CHAINS {
        let mut server = Server::serve(&example(&format!("{chain}-hello"))).await;
        let caller = Caller::new(server.gateway);
        let mut before = None;
        for _ in 0..RUNS {
            let answer = caller.get("/any/path?and=query").await;
            assert!(answer.text().starts_with("Hello from "), "{answer:?}");
            let run = answer.run();
            assert_eq!(run.renewal, "fresh", "{chain}");
            assert_ne!(before.replace(run.environment), Some(run.environment));
        }
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_03_count_only_where_state_is_kept() {
    for chain in TOOL_CHAINS {
        let component = format!("{chain}-counter");
        let rig = Rig::new(&component, PATIENT).await;
        for _ in 0..RUNS {
            assert_eq!(rig.caller.get("/fn/it/").await.text(), "1", "{chain}");
        }
        let shown = rig.server.run(&["show", "it"]).await.done();
        let shown = serde_json::to_string(&shown).unwrap();
        assert!(shown.contains("is for wasi:http 0.3"), "{shown}");
        let rig = Rig::new(&component, &format!("isolation = \"none\"\n{PATIENT}")).await;
        let mut counts = Vec::new();
        for _ in 0..RUNS {
            counts.push(rig.caller.get("/fn/it/").await.text().to_owned());
        }
        let expected: Vec<_> = (1..=RUNS).map(|count| count.to_string()).collect();
        assert_eq!(counts, expected, "{chain}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_of_03_is_kept_by_key_and_never_crosses() {
    let lines = format!("isolation = {{ key = \"header:x-tenant\" }}\n{PATIENT}");
    let rig = Rig::new("rust-p3-counter", &lines).await;
    for count in 1..=5 {
        for tenant in ["a", "b"] {
            let request = rig.caller.request("/fn/it/").header("x-tenant", tenant);
            let answer = rig.caller.whole(request.body(Body::Empty).unwrap()).await;
            assert_eq!(answer.text(), count.to_string(), "{tenant}");
        }
    }
}

/// A body of so many bytes, made as it is sent.
fn made(mib: usize) -> Body {
    let piece = Bytes::from(vec![7; 1 << 16]);
    let pieces = std::iter::repeat_n(piece, (mib * MIB) >> 16);
    let frames = pieces.map(|piece| Ok::<_, BodyError>(Frame::data(piece)));
    Body::stream(StreamBody::new(stream::iter(frames)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_streams_through_03_at_flat_memory() {
    let rig = Rig::new("rust-p3-echo", "[limits]\nmemory_max_mib = 16\n").await;
    let echo = async |mib: usize| {
        let request = rig.caller.request("/fn/it/").method("POST");
        let answer = rig.caller.send(request.body(made(mib)).unwrap()).await;
        assert_eq!(answer.status(), 200);
        let (mut body, mut read) = (answer.into_body(), 0);
        while let Some(frame) = event("a frame", body.frame()).await {
            read += frame.unwrap().into_data().map_or(0, |data| data.len());
        }
        assert_eq!(read, mib * MIB);
    };
    echo(4).await;
    let before = rig.server.peak_kib();
    echo(128).await;
    let grown = rig.server.peak_grown_kib(before);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more than {before}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_of_03_that_leaves_in_mid_stream_costs_nobody_else() {
    // One at a time: whoever comes next is served only once the one who left is forgotten.
    let lines = "[limits]\nconcurrency_max = 1\nqueue_wait_max_ms = 60000\n";
    let rig = Rig::new("rust-p3-echo", lines).await;
    for _ in 0..5 {
        let mut socket = TcpStream::connect(rig.server.gateway).await.unwrap();
        let begun = b"POST /fn/it/ HTTP/1.1\r\nhost: it\r\ntransfer-encoding: chunked\r\n\r\n\
            5\r\nfirst\r\n";
        socket.write_all(begun).await.unwrap();
        let mut received = Vec::new();
        while !received.ends_with(b"first\r\n") {
            let byte = event("a byte of the echo", socket.read_u8()).await;
            received.push(byte.unwrap());
        }
        drop(socket);
        let request = rig.caller.request("/fn/it/").method("POST");
        let answer = rig
            .caller
            .whole(request.body("whole".to_owned().into()).unwrap());
        assert_eq!(answer.await.text(), "whole");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_03_are_told_apart() {
    let lines = "[limits]\nfirst_byte_max_ms = 1500\nmemory_max_mib = 16\n";
    let rig = Rig::new("rust-p3-hog", lines).await;
    for (path, status, label) in [
        ("/fn/it/?trap=1", 502, "trap"),
        ("/fn/it/?error=1", 502, "trap"),
        ("/fn/it/?wait=1", 504, "time-out"),
        ("/fn/it/?loop=1", 504, "time-out"),
        ("/fn/it/?greedy=1", 502, "out-of-memory"),
    ] {
        let answer = rig.caller.get(path).await;
        assert_eq!(answer.error(status)["label"], label, "{path}");
    }
    let answer = rig.caller.get("/fn/it/?url=http://127.0.0.1:1/").await;
    assert!(answer.text().contains("HttpRequestDenied"), "{answer:?}");
    let answer = rig.caller.get("/fn/it/?after=100").await;
    assert_eq!(answer.text(), "going on");
    let told = rig.server.run(&["logs", "it"]).await.done();
    let told = serde_json::to_string(&told).unwrap();
    assert!(
        told.contains("LoopDetected") && told.contains("begun"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_of_03_is_refused_with_its_version() {
    let draft = "(component (instance $served)
        (export \"wasi:http/handler@0.3.0-rc-2026-03-15\" (instance $served)))";
    let function = Folder::function("it", "rust-p3-hello", "");
    std::fs::write(
        function.path().join("function.wasm"),
        wat::parse_str(draft).unwrap(),
    )
    .unwrap();
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let error = server.run(&["deploy", function.text()]).await.error();
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("0.3.0-rc-2026-03-15, a draft"),
        "{message}"
    );
    assert!(message.contains("build it again"), "{message}");
}

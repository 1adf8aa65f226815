//! Clients who mean no good, against the real binary: each is refused, others are served meanwhile,
//! and the platform's memory stays what it was.
//!
//! What the gateway says to each is shown by its own tests; here it is shown that the whole bears
//! it in numbers.

use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::Caller;
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

/// What an attack may cost beyond what stood there before, in KiB. A body of 1 GiB or 100,000
/// headers would be found by it, if anything kept them.
const GROWTH_MAX_KIB: u64 = 96 * 1024;
/// The same for each idle connection, in KiB.
const IDLE_MAX_KIB: u64 = 40;
const IDLE_CONNECTIONS: u64 = 5_000;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const WHOLE: u8 = 5;

/// A platform with one function that takes no more than 1 MiB, which has served some requests.
async fn platform(data: &Folder) -> (Server, Caller) {
    let limits = "[limits]\nbody_max_bytes = 1048576\n";
    let function = Folder::function("echo", "rust-echo", limits);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    let caller = Caller::new(server.gateway);
    for _ in 0..200 {
        serves(&caller).await;
    }
    (server, caller)
}

/// Whether somebody else is served.
async fn serves(caller: &Caller) {
    let request = caller.request("/fn/echo/").method("POST");
    let request = request.body("hello".to_owned().into()).unwrap();
    assert_eq!(caller.whole(request).await.text(), "hello");
}

/// The bytes of one frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Headers as literals that are not remembered.
fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

fn post() -> Vec<u8> {
    block(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "echo.localhost"),
        (":path", "/"),
    ])
}

fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    bytes
}

/// Sends bytes again and again, while what comes is read, until they are all sent or nobody takes
/// them any more; returns what came.
async fn flood(
    gateway: SocketAddr,
    begin: Vec<u8>,
    piece: impl Fn(usize) -> Vec<u8> + Send + 'static,
    pieces: usize,
) -> Vec<u8> {
    let socket = TcpStream::connect(gateway).await.unwrap();
    let (mut read, mut write) = socket.into_split();
    let writing = tokio::spawn(async move {
        let mut sent = write.write_all(&begin).await.is_ok();
        for at in 0..pieces {
            sent = sent && write.write_all(&piece(at)).await.is_ok();
        }
        write
    });
    let reading = tokio::spawn(async move {
        let mut answer = Vec::new();
        // A reset is an end too.
        let _ = read.read_to_end(&mut answer).await;
        answer
    });
    let write = event("all is sent, or nobody takes it", writing)
        .await
        .unwrap();
    drop(write);
    event("the connection ends", reading).await.unwrap()
}

/// Holds an attack to what is promised.
async fn is_borne(what: &str, server: &Server, caller: &Caller, attack: impl Future<Output = ()>) {
    let before = server.peak_kib();
    let mut attack = std::pin::pin!(attack);
    let mut served = 0_u32;
    loop {
        tokio::select! {
            biased;
            () = serves(caller) => served += 1,
            () = &mut attack => break,
        }
    }
    serves(caller).await;
    let grown = server.peak_grown_kib(before);
    println!("{what}: {served} others served meanwhile, peak memory grew by {grown} KiB");
    assert!(grown < GROWTH_MAX_KIB, "{what}: {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_heads_without_measure_are_refused() {
    let data = Folder::new();
    let (server, caller) = platform(&data).await;
    let gateway = server.gateway;
    let first = |framing: &str| {
        format!("POST /fn/echo/ HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n").into_bytes()
    };
    let mebibyte = |_| vec![b'x'; 1 << 20];

    is_borne("1 GiB announced", &server, &caller, async {
        let begin = first("content-length: 1073741824");
        let answer = flood(gateway, begin, mebibyte, 1_024).await;
        assert!(answer.starts_with(b"HTTP/1.1 413 "));
    })
    .await;
    is_borne("1 GiB in chunks", &server, &caller, async {
        let chunk = |_| [b"100000\r\n", &vec![b'x'; 1 << 20][..], b"\r\n"].concat();
        let answer = flood(gateway, first("transfer-encoding: chunked"), chunk, 1_024).await;
        // The function has begun to answer before the bound was passed, so its reply is cut.
        assert!(answer.starts_with(b"HTTP/1.1 200 ") && !answer.ends_with(b"0\r\n\r\n"));
    })
    .await;
    is_borne("1 GiB over HTTP/2", &server, &caller, async {
        let begin = [preface(), frame(HEADERS, 4, 1, &post())].concat();
        let piece = |_| frame(0, 0, 1, &[b'x'; 16_384]);
        // The client's window is not looked at, so the connection ends soon.
        flood(gateway, begin, piece, 65_536).await;
    })
    .await;
    is_borne("100,000 headers", &server, &caller, async {
        let begin = b"GET /fn/echo/ HTTP/1.1\r\nhost: a\r\n".to_vec();
        let header = |at| format!("x-{at}: value\r\n").into_bytes();
        let answer = flood(gateway, begin, header, 100_000).await;
        assert!(answer.starts_with(b"HTTP/1.1 431 "));
    })
    .await;
    is_borne("100,000 headers over HTTP/2", &server, &caller, async {
        let begin = [preface(), frame(HEADERS, END_STREAM, 1, &post())].concat();
        let piece = |at| frame(CONTINUATION, 0, 1, &block(&[(&format!("x-{at}"), "value")]));
        flood(gateway, begin, piece, 100_000).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_http_2_end_their_own_connection_only() {
    let data = Folder::new();
    let (server, caller) = platform(&data).await;
    let gateway = server.gateway;
    is_borne("rapid resets", &server, &caller, async {
        let reset = |at: usize| {
            let stream = u32::try_from(2 * at + 1).unwrap();
            let mut both = frame(HEADERS, 4, stream, &post());
            both.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            both
        };
        for _ in 0..10 {
            flood(gateway, preface(), reset, 10_000).await;
        }
    })
    .await;
    is_borne("empty continuations", &server, &caller, async {
        let begin = [preface(), frame(HEADERS, END_STREAM, 1, &post())].concat();
        flood(
            gateway,
            begin,
            |_| frame(CONTINUATION, 0, 1, &[]),
            1_000_000,
        )
        .await;
    })
    .await;
    for (what, talk) in [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
    ] {
        is_borne(what, &server, &caller, async {
            let begin = [preface(), frame(HEADERS, WHOLE, 1, &post())].concat();
            let piece = talk.repeat(100);
            flood(gateway, begin, move |_| piece.clone(), 10_000).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_and_slow_connections_cost_little_and_hold_nobody_up() {
    // Both ends of most of them are this process's or the platform's.
    let most = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let data = Folder::new();
    let (server, caller) = platform(&data).await;
    let before = server.held_kib();
    let mut held = Vec::new();
    for at in 0..IDLE_CONNECTIONS {
        let mut socket = event("a connection", TcpStream::connect(server.gateway))
            .await
            .unwrap();
        match at % 4 {
            // Says nothing.
            0 => {}
            // Has been served, and may be again.
            1 => {
                let head = b"POST /fn/echo/ HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello";
                socket.write_all(head).await.unwrap();
                let mut first = [0; 12];
                event("an answer", socket.read_exact(&mut first))
                    .await
                    .unwrap();
                assert_eq!(&first, b"HTTP/1.1 200");
            }
            // Never comes to the end of its head.
            2 => socket
                .write_all(b"POST /fn/echo/ HTTP/1.1\r\nhos")
                .await
                .unwrap(),
            // Speaks HTTP/2 and asks for nothing.
            _ => socket.write_all(&preface()).await.unwrap(),
        }
        held.push(socket);
    }
    for _ in 0..100 {
        serves(&caller).await;
    }
    let grown = server.held_kib().saturating_sub(before);
    println!("{IDLE_CONNECTIONS} connections: {grown} KiB");
    assert!(grown < IDLE_CONNECTIONS * IDLE_MAX_KIB, "{grown} KiB");
    drop(held);
    serves(&caller).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_smuggled_past_the_platform() {
    let data = Folder::new();
    let (server, caller) = platform(&data).await;
    let smuggled = "POST /fn/echo/ HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nsmuggled";
    for framing in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ncontent-length: 4\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding : chunked\r\n",
        "x: y\r\n content-length: 4\r\n",
        "x: y\ntransfer-encoding: chunked\r\n",
    ] {
        let text = format!(
            "POST /fn/echo/ HTTP/1.1\r\nhost: a\r\n{framing}\r\n0\r\n\r\n{smuggled}{smuggled}"
        );
        let answer = flood(server.gateway, text.into_bytes(), |_| Vec::new(), 0).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{framing:?}: {answer}");
        assert!(!answer.contains("smuggled"), "{framing:?}: {answer}");
        serves(&caller).await;
    }
}

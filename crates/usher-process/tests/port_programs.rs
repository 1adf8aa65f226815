//! Servers in six ways, unmodified and without a sandbox, behind the `$PORT` contract.
//!
//! `cargo xtask examples --only http` builds what they run.

#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "port/rig.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod rig;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use usher_api::body::Body;
use usher_api::invoke::BoxFuture;
use usher_api::upgrade::{Duplex, Upgrade};
use usher_process::contract::port::{About, CallError, Connect, PortClient, port_environment};

use rig::{Place, Whole, data, driven, event, fed, get, request, whole};

/// Requests of each kind that a program answers in a row.
const REQUESTS: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guest {
    C,
    Go,
    NodeHttp,
    NodeExpress,
    PythonFlask,
    PythonUvicorn,
}

const GUESTS: [Guest; 6] = [
    Guest::C,
    Guest::Go,
    Guest::NodeHttp,
    Guest::NodeExpress,
    Guest::PythonFlask,
    Guest::PythonUvicorn,
];

impl Guest {
    fn folder(self) -> PathBuf {
        let name = match self {
            Self::C => "http-c",
            Self::Go => "http-go",
            Self::NodeHttp => "http-node-http",
            Self::NodeExpress => "http-node-express",
            Self::PythonFlask => "http-python-flask",
            Self::PythonUvicorn => "http-python-uvicorn",
        };
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let built = root.ancestors().nth(2).unwrap().join("target/examples");
        let folder = built.join(name);
        assert!(
            folder.join("function.toml").is_file(),
            "{} is not there; build it with `cargo xtask examples --only http`",
            folder.display()
        );
        folder
    }

    fn command(self, port: u16) -> Vec<String> {
        let port = port.to_string();
        let words: &[&str] = match self {
            Self::C | Self::Go => &["./server"],
            Self::NodeHttp | Self::NodeExpress => &["/usr/bin/node", "app.js"],
            Self::PythonFlask => &["/usr/bin/python3", "app.py"],
            Self::PythonUvicorn => &[
                "/usr/bin/python3",
                "-m",
                "uvicorn",
                "app:app",
                "--host",
                "0.0.0.0",
                "--port",
                &port,
                "--no-access-log",
            ],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// A program as the platform keeps it, without a sandbox. Dropping it kills it.
struct Running {
    guest: Guest,
    child: Child,
    client: PortClient,
    /// How many requests it was sent.
    asked: usize,
    /// Nobody else's while the program may run.
    _place: Place,
}

impl Running {
    /// Sends a request that is to be answered, and reads the reply.
    async fn answer(&mut self, request: Request<Body>) -> Whole {
        let asked = format!("{} {}", request.method(), request.uri().path());
        match self.outcome(request).await {
            Ok(reply) => reply,
            Err(error) => panic!("{asked}: {error:?}"),
        }
    }

    /// Sends a request that may fail.
    async fn outcome(&mut self, request: Request<Body>) -> Result<Whole, CallError> {
        self.asked += 1;
        whole(&mut self.client, request).await
    }
}

/// Tells beside whatever failed with which guest it did.
impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let exit = self.child.try_wait();
            eprintln!(
                "That was {:?} at request {}; has it ended? {exit:?}",
                self.guest, self.asked
            );
        }
    }
}

/// Connects as the contract has it: to both loopback addresses.
struct Both;

impl Connect for Both {
    fn connect(&self, port: u16) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(async move {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await
                }
                connected => connected,
            }
        })
    }
}

async fn start(guest: Guest, more: &[(&str, &str)]) -> Running {
    let place = Place::take();
    let port = place.port();
    let about = About {
        name: "guest".to_owned(),
        revision: "guest-00001".to_owned(),
        port,
    };
    let words = guest.command(port);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir(guest.folder())
        .env_clear()
        .envs(port_environment(&about))
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut running = Running {
        guest,
        child: command.spawn().unwrap(),
        client: PortClient::new(Arc::new(Both), place.port()),
        asked: 0,
        _place: place,
    };
    tokio::select! {
        ready = event(running.client.ready()) => ready.unwrap(),
        exit = running.child.wait() => panic!("it ended before it was ready: {exit:?}"),
    }
    running
}

/// Runs a case with every guest, one after the other.
async fn each<F>(case: impl Fn(Guest, Running) -> F)
where
    F: Future<Output = ()>,
{
    for guest in GUESTS {
        case(guest, start(guest, &[]).await).await;
    }
}

#[tokio::test]
async fn each_says_hello_counts_its_requests_and_sees_what_the_platform_says() {
    each(|guest, running| async move {
        // All of it, so that the program lives as long as the case.
        let mut running = running;
        let hello = running.answer(get("/")).await;
        assert!(
            hello.text.starts_with("hello from "),
            "{guest:?}: {}",
            hello.text
        );
        for count in 1..=REQUESTS {
            let counted = running.answer(get("/counter")).await;
            assert_eq!(counted.text, count.to_string(), "{guest:?}");
        }
        let mut asked = get("/headers");
        let headers = asked.headers_mut();
        headers.insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        headers.insert("x-forwarded-proto", "http".parse().unwrap());
        let seen = running.answer(asked).await.text;
        let seen = seen.to_lowercase();
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        assert_eq!(seen["host"], "a.localhost", "{guest:?}");
        assert_eq!(seen["forwarded"], "for=192.0.2.1;proto=http", "{guest:?}");
        let missing = running.answer(get("/nothing-here")).await;
        assert_eq!(missing.head.status, 404, "{guest:?}");
    })
    .await;
}

/// A body of some megabytes in pieces of uneven size.
fn pieces(bytes: &Bytes) -> Body {
    let mut left = bytes.clone();
    let mut frames = Vec::new();
    while !left.is_empty() {
        let length = (left.len() / 3 + 1).min(60_000);
        frames.push(Ok(Frame::data(left.split_to(length))));
    }
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

#[tokio::test]
async fn each_sends_bodies_back_whole_or_in_chunks() {
    let text = (0..300_000).map(|n| format!("{n},")).collect::<String>();
    let bytes = Bytes::from(text.clone());
    each(|guest, running| {
        let (text, bytes) = (text.clone(), bytes.clone());
        async move {
            let mut running = running;
            let sent = request("POST", "/echo", Body::from(bytes.clone()));
            let back = running.answer(sent).await.text;
            assert!(back == text, "{guest:?}: {} bytes came back", back.len());
            let sent = request("POST", "/echo", pieces(&bytes));
            let back = running.answer(sent).await.text;
            assert!(back == text, "{guest:?}: {} bytes came back", back.len());
            let streamed = running.answer(get("/stream")).await.text;
            assert_eq!(streamed.lines().count(), 5, "{guest:?}: {streamed}");
            let head = request("HEAD", "/", Body::Empty);
            assert_eq!(running.answer(head).await.text, "", "{guest:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_echo_begins_before_its_request_is_over() {
    each(|guest, running| async move {
        let mut running = running;
        // Go's server and Flask's take all of a request first.
        if matches!(guest, Guest::Go | Guest::PythonFlask) {
            return;
        }
        let (feed, body) = fed();
        let answered = event(running.client.call(request("POST", "/echo", body))).await;
        let (response, rest) = driven(answered.unwrap());
        let mut body = response.into_body();
        feed.send(data("first")).unwrap();
        let frame = event(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "first", "{guest:?}");
        drop(body);
        let _ = event(rest).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_crash_is_one_clear_error_and_then_nobody_is_there() {
    each(|guest, running| async move {
        let mut running = running;
        // On a connection that is kept, and would be tried again.
        running.answer(get("/")).await;
        let error = running.outcome(get("/crash")).await.unwrap_err();
        assert!(matches!(error, CallError::Closed), "{guest:?}: {error:?}");
        event(running.child.wait()).await.unwrap();
        let error = running.outcome(get("/")).await.unwrap_err();
        assert!(
            matches!(error, CallError::Connect { .. }),
            "{guest:?}: {error:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn slow_says_that_it_has_begun_and_is_given_up_by_drop() {
    each(|guest, running| async move {
        let mut running = running;
        let mut lines = BufReader::new(running.child.stdout.take().unwrap()).lines();
        let begun = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line == "begun" {
                    return;
                }
            }
            panic!("{guest:?} never began");
        };
        tokio::select! {
            answered = running.client.call(get("/slow")) => panic!("{guest:?}: {answered:?}"),
            () = event(begun) => {}
        }
        let counted = running.answer(get("/counter")).await;
        assert_eq!(counted.text, "1", "{guest:?}");
    })
    .await;
}

#[tokio::test]
async fn a_program_is_reached_wherever_it_listens() {
    for address in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
        let mut running = start(Guest::C, &[("BIND", address), ("GUEST", "counter")]).await;
        let counted = running.answer(get("/")).await;
        assert_eq!(counted.text, "1", "{address}");
    }
}

/// A text frame as a client sends it: short, final, with a mask of zeros.
fn frame(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let mut bytes = vec![0x81, 0x80 | length, 0, 0, 0, 0];
    bytes.extend(text.as_bytes());
    bytes
}

#[tokio::test]
async fn a_web_socket_is_opened_and_gives_messages_back() {
    let mut running = start(Guest::NodeHttp, &[]).await;
    let (mut ours, theirs) = tokio::io::duplex(256);
    let mut asked = get("/socket");
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    let granted = async move { Ok(Box::new(theirs) as Box<dyn Duplex>) };
    asked
        .extensions_mut()
        .insert(Upgrade::new(Box::pin(granted)));
    let answered = event(running.client.call(asked)).await.unwrap();
    let (response, rest) = driven(answered);
    assert_eq!(response.status(), 101);
    // The answer to the sample key of RFC 6455, 1.3.
    let accept = &response.headers()["sec-websocket-accept"];
    assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    for text in ["one", "two"] {
        event(ours.write_all(&frame(text))).await.unwrap();
        let mut back = [0; 5];
        event(ours.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back[..2], [0x81, 3]);
        assert_eq!(&back[2..], text.as_bytes());
    }
    // A closing frame; the server answers it and ends.
    event(ours.write_all(&[0x88, 0x80, 0, 0, 0, 0]))
        .await
        .unwrap();
    let mut back = Vec::new();
    event(ours.read_to_end(&mut back)).await.unwrap();
    assert_eq!(back, [0x88, 0]);
    event(rest).await.unwrap().unwrap();
    let counted = running.answer(get("/counter")).await;
    assert_eq!(counted.text, "1");
}

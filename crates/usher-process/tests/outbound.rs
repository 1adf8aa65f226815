//! The outbound proxy, as programs meet it: over a raw socket.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use usher_core::outbound::AllowList;
use usher_process::outbound::{Proxy, ProxyBounds, outbound_environment};

/// When a test that waits for an event gives up: only ever seen where something hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

async fn event<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, future).await.unwrap()
}

fn allow(entries: &[&str]) -> Arc<AllowList> {
    Arc::new(AllowList::parse(entries).unwrap())
}

/// A proxy that runs, and what it told the function's log.
struct Rig {
    address: SocketAddr,
    told: Arc<Mutex<Vec<String>>>,
    _proxy: Proxy,
}

impl Rig {
    async fn start(entries: &[&str]) -> Self {
        Self::bounded(entries, ProxyBounds::default()).await
    }

    async fn bounded(entries: &[&str], bounds: ProxyBounds) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let told = Arc::<Mutex<Vec<String>>>::default();
        let tell = Arc::clone(&told);
        let refused = Arc::new(move |text: &str| tell.lock().push(text.to_owned()));
        Self {
            address,
            told,
            _proxy: Proxy::serve(listener, allow(entries), bounds, refused),
        }
    }

    /// Sends bytes on a connection of their own and reads to its end.
    async fn say(&self, text: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The answer may come, and the connection close, before all of it is written.
        let _ = stream.write_all(text.as_bytes()).await;
        rest(&mut stream).await
    }

    async fn connect(&self, to: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("CONNECT {to} HTTP/1.1\r\nhost: {to}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = head_of(&mut stream).await;
        (stream, head)
    }
}

async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = event(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn head_of(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(b"\r\n\r\n") {
            bytes.push(stream.read_u8().await.unwrap());
        }
    };
    event(read).await;
    String::from_utf8(bytes).unwrap()
}

/// A peer outside: answers each connection's head with bytes, and tells the head.
async fn peer(reply: &'static str) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let head = head_of(&mut stream).await;
                seen.lock().push(head);
                let _ = stream.write_all(reply.as_bytes()).await;
                rest(&mut stream).await
            });
        }
    });
    (port, heads)
}

/// A peer that gives every byte back.
async fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reads, mut writes) = stream.split();
                let _ = tokio::io::copy(&mut reads, &mut writes).await;
            });
        }
    });
    port
}

const OK: &str = "HTTP/1.1 200 OK\r\nproxy-authenticate: x\r\nkeep-alive: timeout=5\r\n\
                  content-length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_permitted_request_is_passed_on_without_what_is_the_proxys() {
    let (port, heads) = peer(OK).await;
    let rig = Rig::start(&[&format!("http://127.0.0.1:{port}")]).await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    for _ in 0..2 {
        let head = format!(
            "GET http://127.0.0.1:{port}/path?q HTTP/1.1\r\nhost: forged\r\nproxy-connection: x\r\n\
             proxy-authorization: secret\r\nx-forwarded-for: mine\r\nx-kept: yes\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let head = head_of(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            !head.contains("proxy-") && !head.contains("keep-alive"),
            "{head}"
        );
        let mut body = [0; 5];
        event(stream.read_exact(&mut body)).await.unwrap();
        assert_eq!(&body, b"hello");
    }
    for head in heads.lock().iter() {
        let mut lines = head.trim_end().split("\r\n").collect::<Vec<_>>();
        assert_eq!(lines.remove(0), "GET /path?q HTTP/1.1");
        lines.sort_unstable();
        let host = format!("host: 127.0.0.1:{port}");
        assert_eq!(lines, [&host, "x-forwarded-for: mine", "x-kept: yes"]);
    }
    assert_eq!(heads.lock().len(), 2);
    assert!(rig.told.lock().is_empty());
}

#[tokio::test]
async fn a_permitted_tunnel_carries_bytes_both_ways() {
    let port = echo().await;
    let rig = Rig::start(&[&format!("127.0.0.1:{port}")]).await;
    let (mut stream, head) = rig.connect(&format!("127.0.0.1:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for text in ["\x16\x03\x01", "GET / HTTP/1.1\r\n\r\n", "bye"] {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut seen = vec![0; text.len()];
        event(stream.read_exact(&mut seen)).await.unwrap();
        assert_eq!(seen, text.as_bytes());
    }
}

#[tokio::test]
async fn a_body_and_its_reply_stream_through() {
    let reply = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (port, heads) = peer(reply).await;
    let rig = Rig::start(&[&format!("127.0.0.1:{port}")]).await;
    let head =
        format!("POST http://127.0.0.1:{port}/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    let answer = rig
        .say(&format!(
            "{head}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ))
        .await;
    assert!(answer.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{answer}");
    assert!(heads.lock()[0].contains("transfer-encoding: chunked"));
}

/// What a refusal looks like to the program, and that the log has the same sentence.
fn assert_refused(rig: &Rig, answer: &str, entry: &str) {
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    let told = rig.told.lock().pop().unwrap();
    assert!(
        told.contains(&format!("add {entry:?} to `outbound`")),
        "{told}"
    );
    assert!(rig.told.lock().is_empty());
    let length = answer.split("content-length: ").nth(1).unwrap();
    let length = length
        .split("\r\n")
        .next()
        .unwrap()
        .parse::<usize>()
        .unwrap();
    assert_eq!(length, told.len() + 1, "the sentence is the body");
}

#[tokio::test]
async fn what_is_not_listed_is_refused_with_the_entry_that_would_permit_it() {
    let rig = Rig::start(&["https://api.example.com"]).await;
    for (to, entry) in [
        ("other.example.com:443", "https://other.example.com"),
        // Another port of a listed name.
        ("api.example.com:22", "api.example.com:22"),
        ("api.example.com:80", "api.example.com:80"),
        (
            "api.example.com.evil.example:443",
            "https://api.example.com.evil.example",
        ),
        ("[::1]:443", "https://[::1]"),
        ("127.0.0.1:9001", "127.0.0.1:9001"),
        ("169.254.169.254:80", "169.254.169.254:80"),
    ] {
        let (_stream, head) = rig.connect(to).await;
        assert_refused(&rig, &head, entry);
    }
    for (uri, entry) in [
        // Over HTTP it is not listed.
        ("http://api.example.com/", "http://api.example.com"),
        (
            "http://other.example.com:8080/",
            "http://other.example.com:8080",
        ),
        ("http://10.0.0.1/", "http://10.0.0.1"),
    ] {
        let answer = rig
            .say(&format!(
                "GET {uri} HTTP/1.1\r\nhost: api.example.com\r\n\r\n"
            ))
            .await;
        assert_refused(&rig, &answer, entry);
    }
}

#[tokio::test]
async fn a_listed_name_that_leads_inside_is_refused_by_its_address() {
    let (port, heads) = peer(OK).await;
    let rig = Rig::start(&[&format!("localhost:{port}")]).await;
    let (_stream, head) = rig.connect(&format!("localhost:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let told = rig.told.lock().pop().unwrap();
    assert!(told.contains("is not a public address"), "{told}");
    assert!(
        told.contains(&format!("127.0.0.1:{port}")) || told.contains("[::1]"),
        "{told}"
    );
    let answer = rig
        .say(&format!(
            "GET http://localhost:{port}/ HTTP/1.1\r\nhost: a\r\n\r\n"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(heads.lock().is_empty(), "nothing was connected");
    // The control: with an entry for the address the very same is permitted.
    let rig = Rig::start(&[&format!("localhost:{port}"), &format!("127.0.0.1:{port}")]).await;
    let (_stream, head) = rig.connect(&format!("localhost:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn a_redirect_is_the_programs_own_affair_and_judged_anew() {
    let (inside, heads) = peer(OK).await;
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:1/\r\ncontent-length: 0\r\n\r\n";
    let (port, _) = peer(moved).await;
    let rig = Rig::start(&[&format!("http://127.0.0.1:{port}")]).await;
    let head = "HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let answer = rig
        .say(&format!("GET http://127.0.0.1:{port}/ {head}"))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 302 Found\r\n"),
        "it is not followed: {answer}"
    );
    let answer = rig
        .say(&format!("GET http://127.0.0.1:{inside}/ {head}"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(heads.lock().is_empty());
}

#[tokio::test]
async fn what_follows_a_refused_connect_is_not_read() {
    let (port, heads) = peer(OK).await;
    let rig = Rig::start(&[&format!("http://127.0.0.1:{port}")]).await;
    let follows = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = rig
        .say(&format!(
            "CONNECT evil.example:443 HTTP/1.1\r\nhost: a\r\n\r\n{follows}"
        ))
        .await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(heads.lock().is_empty());
}

#[tokio::test]
async fn requests_that_are_not_for_a_proxy_are_told_so() {
    let rig = Rig::start(&["*.example.com"]).await;
    for head in [
        "GET / HTTP/1.1\r\nhost: a.example.com\r\n\r\n",
        "GET https://a.example.com/ HTTP/1.1\r\nhost: a.example.com\r\n\r\n",
        "GET ftp://a.example.com/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET http://u@a.example.com/ HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT a.example.com HTTP/1.1\r\nhost: a\r\n\r\n",
        "CONNECT a.example.com:443 HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nabcde",
        "CONNECT a.example.com:99999 HTTP/1.1\r\nhost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET http://a.example.com/ HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let answer = rig.say(head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
    let long = format!(
        "GET http://a.example.com/ HTTP/1.1\r\nx: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    let answer = rig.say(&long).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(rig.told.lock().is_empty(), "none of these is a refusal");
}

#[tokio::test]
async fn a_peer_that_is_not_there_or_speaks_no_http_is_a_502() {
    // Bound and not listened at: nobody else gets it meanwhile.
    let place = TcpSocket::new_v4().unwrap();
    place.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let closed = place.local_addr().unwrap().port();
    let (garbage, _) = peer("garbage\r\n\r\n").await;
    let rig = Rig::start(&["127.0.0.1"]).await;
    for port in [closed, garbage] {
        let head = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = rig.say(&head).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    }
    let (_stream, head) = rig.connect(&format!("127.0.0.1:{closed}")).await;
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
}

#[tokio::test]
async fn connections_that_do_nothing_are_ended() {
    let port = echo().await;
    let bounds = ProxyBounds {
        head_wait_max_ms: 1,
        ..ProxyBounds::default()
    };
    let rig = Rig::bounded(&[], bounds).await;
    for begun in ["", "GET http://exam"] {
        let answer = rig.say(begun).await;
        assert!(!answer.contains("200"), "{answer}");
    }
    let bounds = ProxyBounds {
        idle_max_ms: 50,
        ..ProxyBounds::default()
    };
    let rig = Rig::bounded(&["127.0.0.1"], bounds).await;
    let (mut stream, head) = rig.connect(&format!("127.0.0.1:{port}")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(rest(&mut stream).await, "", "the tunnel was ended");
}

#[tokio::test]
async fn a_program_that_has_all_its_connections_waits_for_one_of_them() {
    let port = echo().await;
    let bounds = ProxyBounds {
        connections_max: 2,
        ..ProxyBounds::default()
    };
    let rig = Rig::bounded(&["127.0.0.1"], bounds).await;
    let to = format!("127.0.0.1:{port}");
    let (first, _) = rig.connect(&to).await;
    let (_second, _) = rig.connect(&to).await;
    let mut third = Box::pin(rig.connect(&to));
    for _ in 0..1_000 {
        assert!(futures_util::poll!(&mut third).is_pending());
        tokio::task::yield_now().await;
    }
    drop(first);
    let (_stream, head) = event(third).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_tunnels() {
    let port = echo().await;
    let rig = Rig::start(&["127.0.0.1"]).await;
    let (mut stream, _) = rig.connect(&format!("127.0.0.1:{port}")).await;
    drop(rig);
    assert_eq!(rest(&mut stream).await, "");
}

#[test]
fn programs_are_told_of_the_proxy_only_where_something_is_permitted() {
    assert!(outbound_environment(&allow(&[])).is_empty());
    let variables = outbound_environment(&allow(&["example.com"]));
    let value = |name: &str| {
        let found = variables.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(value("https_proxy"), Some("http://127.0.0.1:9002"));
    assert_eq!(value("NO_PROXY"), Some("localhost,127.0.0.1,::1"));
    assert_eq!(value("ALL_PROXY"), None);
}

//! What a function takes at most: the size of a body, and how many requests run and wait.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usher_api::body::Body;

use crate::caller::Caller;
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

/// A platform with `echo` under these limits.
async fn with_echo(data: &Folder, limits: &str) -> Server {
    let function = Folder::function("echo", "rust-echo", &format!("[limits]\n{limits}"));
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_above_its_bound_is_refused() {
    let data = Folder::new();
    let server = with_echo(&data, "body_max_bytes = 8\n").await;
    let caller = Caller::new(server.gateway);
    let post = async |body: Body| {
        let request = caller.request("/fn/echo/").method("POST").body(body);
        caller.whole(request.unwrap()).await
    };
    let fits = post(Body::from("8 bytes.".to_owned())).await;
    assert_eq!(fits.text(), "8 bytes.");
    let told = post(Body::from("nine bytes".to_owned())).await.error(413);
    assert_eq!(told["label"], "body-too-large");
    assert_eq!(told["blame"], "caller");
    // One that does not tell its length before is found out at its first byte too many.
    let piece = Ok(Frame::data(Bytes::from_static(b"nine bytes")));
    let untold = Body::stream(StreamBody::new(stream::iter([piece])));
    let untold = post(untold).await.error(413);
    assert_eq!(untold["label"], "body-too-large");
    let fits = post(Body::from("8 bytes.".to_owned())).await;
    assert_eq!(fits.text(), "8 bytes.");
}

/// Waits until this line is one of the platform's figures.
async fn stands(server: &Server, line: &str) {
    let client = server.client();
    let stands = async {
        while !client
            .metrics()
            .await
            .unwrap()
            .lines()
            .any(|one| one == line)
        {}
    };
    event(line, stands).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_the_waiting_room_full_is_told_when_to_come_again() {
    let data = Folder::new();
    let limits = "concurrency_max = 1\nqueue_max = 1\nqueue_wait_max_ms = 3600000\n";
    let server = with_echo(&data, limits).await;
    let caller = Caller::new(server.gateway);
    let mut first = TcpStream::connect(server.gateway).await.unwrap();
    let head = b"POST /fn/echo/ HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na";
    first.write_all(head).await.unwrap();
    stands(&server, "usher_gateway_running 1").await;
    let second = {
        let caller = caller.clone();
        tokio::spawn(async move { caller.get("/fn/echo/").await })
    };
    stands(&server, "usher_gateway_waiting 1").await;
    let third = caller.get("/fn/echo/").await;
    assert_eq!(third.error(429)["label"], "busy");
    let again = third.headers["retry-after"].to_str().unwrap();
    assert!(again.parse::<u32>().unwrap() > 0, "{again}");
    // The first one's end lets the second one in.
    first.write_all(b"b").await.unwrap();
    let second = event("the second is served", second).await.unwrap();
    assert_eq!(second.status, 200);
    let begun = event("the first is answered", first.read_u8()).await;
    assert_eq!(begun.unwrap(), b'H');
}

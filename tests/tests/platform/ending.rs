//! How a platform ends: asked, in order and after its last reply; killed, with all that it
//! acknowledged.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::Caller;
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_answers_after_a_kill() {
    let data = Folder::new();
    let mut revisions = Vec::new();
    for round in 0..3 {
        let server = Server::up(data.path()).await;
        let caller = Caller::new(server.gateway);
        let listed = server.run(&["list"]).await.done();
        let found = listed.into_iter().map(|view| view["revision"].clone());
        assert_eq!(found.collect::<Vec<_>>(), revisions);
        for before in 0..round {
            let answer = caller.get(&format!("/fn/f{before}/")).await;
            assert_eq!(answer.text(), "1");
        }
        let function = Folder::function(&format!("f{round}"), "rust-counter", "");
        let deployed = server.run(&["deploy", function.text()]).await.done();
        revisions.push(deployed[0]["function"]["revision"].clone());
        server.kill().await;
    }
}

/// A request that is under way for certain: a part of its body has come back.
async fn under_way(gateway: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(gateway).await.unwrap();
    let head = "POST /fn/echo/ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let begun = format!("{head}5\r\nfirst\r\n");
    socket.write_all(begun.as_bytes()).await.unwrap();
    until(&mut socket, "5\r\nfirst\r\n").await;
    socket
}

async fn until(socket: &mut TcpStream, end: &str) {
    let mut received = Vec::new();
    while !received.ends_with(end.as_bytes()) {
        received.push(event(end, socket.read_u8()).await.unwrap());
    }
}

/// Waits until nobody new is let in.
async fn closed(gateway: SocketAddr) {
    let refused = async {
        while TcpStream::connect(gateway).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    event("the gateway takes no new connections", refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_asked_to_end_finishes_what_is_under_way() {
    let mut server = Server::demo().await;
    let mut socket = under_way(server.gateway).await;
    server.terminate();
    closed(server.gateway).await;
    socket.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    until(&mut socket, "6\r\nsecond\r\n0\r\n\r\n").await;
    let status = server.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
}

/// The control: what is under way is what the platform waits for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_is_told_twice_ends_at_once() {
    let mut server = Server::demo().await;
    let mut socket = under_way(server.gateway).await;
    server.terminate();
    closed(server.gateway).await;
    server.terminate();
    let status = server.ended().await;
    assert_eq!(status.code(), Some(130), "{status}");
    let mut rest = Vec::new();
    let _ = event("the connection ends", socket.read_to_end(&mut rest)).await;
    assert!(!rest.ends_with(b"0\r\n\r\n"));
}

//! Runs that fail: each ends with its status, and the next request of the same function is served.
//!
//! The functions may run once at a time, so that a run which did not give back all it had would
//! keep every later one waiting.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::Caller;
use crate::event;
use crate::folder::Folder;
use crate::server::Server;

/// A platform with `hog`, and `counter` beside it to see whether anybody else was harmed.
async fn with_hog(data: &Folder) -> Server {
    let server = Server::up(data.path()).await;
    let lines = "[limits]\nfirst_byte_max_ms = 500\nmemory_max_mib = 32\nconcurrency_max = 1\n";
    let hog = Folder::function("hog", "rust-hog", lines);
    server.run(&["deploy", hog.text()]).await.done();
    let counter = Folder::function("counter", "rust-counter", "");
    server.run(&["deploy", counter.text()]).await.done();
    server
}

/// Both functions still serve.
async fn unharmed(caller: &Caller) {
    let hog = caller.get("/fn/hog/?mib=1").await;
    assert_eq!(hog.text(), "1 MiB");
    assert_eq!(caller.get("/fn/counter/").await.text(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_fails_costs_itself_only() {
    let data = Folder::new();
    let server = with_hog(&data).await;
    let caller = Caller::new(server.gateway);
    unharmed(&caller).await;
    for (query, status, label) in [
        ("trap=1", 502, "trap"),
        ("stack=1", 502, "trap"),
        ("oob=1", 502, "trap"),
        ("loop=1", 504, "time-out"),
    ] {
        let failed = caller.get(&format!("/fn/hog/?{query}")).await;
        let error = failed.error(status);
        assert_eq!(error["label"], label, "{query}");
        assert_eq!(error["blame"], "function", "{query}");
        // It says where it ran, and nothing runs there any more.
        let served = caller.get("/fn/hog/?mib=1").await.run().environment;
        assert_ne!(failed.run().environment, served, "{query}");
        unharmed(&caller).await;
    }
    let shown = server.run(&["show", "hog"]).await.done();
    assert_eq!(shown[0]["status"]["quarantined"], 0, "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_gets_no_more_memory_than_its_limit() {
    let data = Folder::new();
    let server = with_hog(&data).await;
    let caller = Caller::new(server.gateway);
    for query in ["mib=1024", "grow=1024"] {
        let refused = caller.get(&format!("/fn/hog/?{query}")).await;
        assert_eq!(refused.status, 507, "{refused:?}");
        unharmed(&caller).await;
    }
    let fits = caller.get("/fn/hog/?mib=16").await;
    assert_eq!(fits.text(), "16 MiB");
    assert!(server.peak_kib() < 1024 * 1024, "{}", server.peak_kib());
}

/// All bytes of an answer as they are on the wire.
async fn raw(server: &Server, query: &str) -> String {
    let mut socket = TcpStream::connect(server.gateway).await.unwrap();
    let request = format!("GET /fn/hog/?{query} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    // A connection that is cut may be reset as well as closed.
    let read = event("the connection ends", socket.read_to_end(&mut bytes));
    let _ = read.await;
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trap_in_mid_stream_cuts_the_connection_without_the_final_chunk() {
    let data = Folder::new();
    let server = with_hog(&data).await;
    let caller = Caller::new(server.gateway);
    let cut = raw(&server, "trap=mid").await;
    assert!(cut.starts_with("HTTP/1.1 200"), "{cut}");
    assert!(cut.contains("transfer-encoding: chunked"), "{cut}");
    assert!(cut.contains("xxxx"), "{cut}");
    assert!(!cut.ends_with("0\r\n\r\n"), "{cut}");
    // That a reply which ends well has it is the matter of `streams`.
    unharmed(&caller).await;
}

//! Outbound HTTP by `wasi:http/client`: nowhere by default, and where the list permits it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use usher_core::function::Settings;

use crate::guests::Bench;

/// A server that answers every request with 418.
async fn teapot() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            let _some = stream.read(&mut head).await;
            let answer = b"HTTP/1.1 418 I am a teapot\r\ncontent-length: 0\r\n\r\n";
            let _sent = stream.write_all(answer).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outbound_requests_go_only_where_the_list_permits() {
    let port = teapot().await;
    let target = format!("/?url=http://127.0.0.1:{port}/");
    let bench = Bench::new();
    for (outbound, expected) in [
        (Vec::new(), "HttpRequestDenied"),
        (
            vec!["http://elsewhere.test".to_owned()],
            "HttpRequestDenied",
        ),
        (vec![format!("http://127.0.0.1:{port}")], "418"),
    ] {
        let settings = Settings {
            outbound: outbound.clone(),
            ..Settings::default()
        };
        let image = bench.load("rust-p3-hog", settings).await;
        let (reply, ..) = bench.visit(bench.start(&image).await, &target).await;
        assert!(reply.contains(expected), "{outbound:?}: {reply}");
    }
}

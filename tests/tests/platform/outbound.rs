//! Where a function may go: nowhere, unless its manifest says so.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;

/// A server that counts who comes, and answers all alike.
async fn neighbour() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let visits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&visits);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 418 I am a teapot\r\ncontent-length: 0\r\n\r\n";
            socket.write_all(answer).await.unwrap();
        }
    });
    (address, visits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_goes_where_its_list_says_and_nowhere_else() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    let (address, visits) = neighbour().await;
    let port = address.port();
    let by_address = format!("http://127.0.0.1:{port}/");
    let by_name = format!("http://localhost:{port}/");
    let named = format!("http://localhost:{port}");
    let own = format!("http://127.0.0.1:{port}");
    let other = format!("http://127.0.0.1:{}", if port == 1 { 2 } else { port - 1 });
    // The list, and whether it lets the address and the name through.
    for (nth, (list, address_passes, name_passes)) in [
        (vec![], false, false),
        (vec![own.clone()], true, false),
        (vec![other], false, false),
        // A name that leads inwards needs the address beside it.
        (vec![named.clone()], false, false),
        (vec![named, own], true, true),
    ]
    .into_iter()
    .enumerate()
    {
        let lines = format!("outbound = {list:?}\n");
        let function = Folder::function(&format!("out{nth}"), "rust-probe-outbound", &lines);
        server.run(&["deploy", function.text()]).await.done();
        for (url, passes) in [(&by_address, address_passes), (&by_name, name_passes)] {
            let before = visits.load(Ordering::SeqCst);
            let answer = caller.get(&format!("/fn/out{nth}/?url={url}")).await;
            let (told, came) = (answer.text(), visits.load(Ordering::SeqCst) - before);
            match passes {
                true => assert_eq!((told, came), ("status 418", 1), "{list:?} {url}"),
                false => {
                    assert!(told.starts_with("error "), "{list:?} {url}: {told}");
                    assert_eq!(came, 0, "{list:?} {url}");
                }
            }
        }
    }
}

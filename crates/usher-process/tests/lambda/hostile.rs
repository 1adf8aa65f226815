//! Programs that mean harm: what they do costs themselves only.

use usher_core::fault::Fault;
use usher_process::contract::lambda::{InitError, InvokeError, LambdaApi};

use super::rig::{Fake, about, direct, serve, whole};

const NEXT: &str = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: a\r\n\r\n";

/// One good invocation over a connection of its own.
async fn still_works(api: &mut LambdaApi, address: std::net::SocketAddr) {
    let mut fake = Fake::connect(address).await;
    let program = async {
        let id = fake.next().await.id();
        assert_eq!(fake.post(&id, "response", "", "1").await.status, 202);
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
    assert_eq!(whole(answered.unwrap().response).await.text, "1");
}

#[tokio::test]
async fn garbage_ends_its_connection() {
    let (mut api, address) = serve(about("h")).await;
    for garbage in [
        b"\0\0\0\0\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET /2018-06-01/ping HTTP/9.9\r\n\r\n".to_vec(),
        b"POST /x HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_vec(),
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_vec(),
        [
            b"GET /".to_vec(),
            vec![b'a'; 2 << 20],
            b" HTTP/1.1\r\n\r\n".to_vec(),
        ]
        .concat(),
        [
            b"GET / HTTP/1.1\r\nx: ".to_vec(),
            vec![b'a'; 2 << 20],
            b"\r\n\r\n".to_vec(),
        ]
        .concat(),
        [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"a: b\r\n".repeat(10_000),
            b"\r\n".to_vec(),
        ]
        .concat(),
    ] {
        let mut fake = Fake::connect(address).await;
        use tokio::io::AsyncWriteExt;
        // It may be closed before all is written.
        let _ = fake.socket.write_all(&garbage).await;
        let _ = fake.socket.shutdown().await;
        while let Some(said) = fake.said().await {
            assert!((400..500).contains(&said.status), "{said:?}");
        }
    }
    still_works(&mut api, address).await;
}

#[tokio::test]
async fn the_python_clients_largest_header_passes() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let cause = "x".repeat(1024 * 1024 - 1);
    let program = async {
        let id = fake.next().await.id();
        let header = format!("lambda-runtime-function-xray-error-cause: {cause}\r\n");
        assert_eq!(fake.post(&id, "error", &header, "{}").await.status, 202);
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
    assert_eq!(whole(answered.unwrap().response).await.text, "{}");
}

#[tokio::test]
async fn a_thousand_connections_starve_their_owner_only() {
    let (mut api, address) = serve(about("h")).await;
    let (mut other, other_address) = serve(about("h")).await;
    let mut hoard = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        hoard.spawn(tokio::net::TcpStream::connect(address));
    }
    // Most of those that come through wait in the kernel's queue, and the rest before it.
    let mut held = Vec::new();
    while held.len() < 100 {
        held.push(hoard.join_next().await.unwrap().unwrap().unwrap());
    }
    still_works(&mut other, other_address).await;
    // Once they are gone, the owner goes on.
    drop((hoard, held));
    still_works(&mut api, address).await;
}

#[tokio::test]
async fn the_ninth_connection_waits_for_a_place() {
    let (_api, address) = serve(about("h")).await;
    let ping = "GET /2018-06-01/ping HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut places = Vec::new();
    for _ in 0..8 {
        let mut fake = Fake::connect(address).await;
        assert_eq!(
            fake.call("GET", "/2018-06-01/ping", "", "").await.status,
            200
        );
        places.push(fake);
    }
    let mut ninth = Fake::connect(address).await;
    ninth.send(ping).await;
    let mut said = std::pin::pin!(ninth.said());
    // The others are answered over and over, and it is not.
    for _ in 0..10 {
        for fake in &mut places {
            assert_eq!(
                fake.call("GET", "/2018-06-01/ping", "", "").await.status,
                200
            );
        }
        assert!(futures_util::poll!(&mut said).is_pending());
    }
    places.pop();
    assert_eq!(said.await.unwrap().body, "pong");
}

#[tokio::test]
async fn pipelined_calls_are_answered_in_their_order() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let ping = "GET /2018-06-01/ping HTTP/1.1\r\nhost: a\r\n\r\n";
    fake.send(format!("{}{NEXT}{ping}{NEXT}", ping.repeat(50)))
        .await;
    for _ in 0..50 {
        assert_eq!(fake.said().await.unwrap().body, "pong");
    }
    let program = async {
        let id = fake.said().await.unwrap().id();
        assert_eq!(fake.said().await.unwrap().body, "pong");
        // The second `next` was the same event again.
        assert_eq!(fake.said().await.unwrap().id(), id);
        assert_eq!(fake.post(&id, "response", "", "1").await.status, 202);
    };
    let (answered, ()) = tokio::join!(api.invoke(direct("{}")), program);
    assert_eq!(whole(answered.unwrap().response).await.text, "1");
}

#[tokio::test]
async fn calls_that_lead_nowhere_have_an_end() {
    let (api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    let mut answered = 0;
    use tokio::io::AsyncWriteExt;
    let ping = "GET /2018-06-01/ping HTTP/1.1\r\nhost: a\r\n\r\n";
    let _ = fake.socket.write_all(ping.repeat(5_000).as_bytes()).await;
    while fake.said().await.is_some() {
        answered += 1;
    }
    assert!((500..=1_001).contains(&answered), "{answered}");
    assert_eq!(api.ready().await, Err(InitError::Closed));
    let mut api = api;
    let error = api.invoke(direct("{}")).await.err().unwrap();
    assert!(matches!(error, InvokeError::Disorder), "{error}");
    assert_eq!(error.fault(), Fault::Trap);
    assert!(!error.spares_environment());
}

#[tokio::test]
async fn half_a_reply_keeps_nobody_but_its_caller() {
    let (mut api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    fake.send(NEXT).await;
    let mut invocation = std::pin::pin!(api.invoke(direct("{}")));
    let mut other = Fake::connect(address).await;
    let stalled = async {
        let id = fake.said().await.unwrap().id();
        let path = format!("/2018-06-01/runtime/invocation/{id}/response");
        let head = "HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 6000000\r\n\r\n";
        fake.send(format!("POST {path} {head}")).await;
        // Said when the body is asked for: the reply has begun.
        assert_eq!(fake.said().await.unwrap().status, 100);
        fake.send("\"half").await;
        // Nobody else may reply meanwhile, and everything else is answered.
        let said = other.post(&id, "response", "", "2").await;
        assert_eq!(said.status, 403);
        assert_eq!(said.json()["errorType"], "InvalidStateTransition");
        assert_eq!(
            other.call("GET", "/2018-06-01/ping", "", "").await.status,
            200
        );
    };
    tokio::select! {
        biased;
        () = stalled => {}
        _ = &mut invocation => panic!("half a reply was taken for one"),
    }
    assert!(futures_util::poll!(&mut invocation).is_pending());
}

#[tokio::test]
async fn dropping_the_api_closes_everything() {
    let (api, address) = serve(about("h")).await;
    let mut fake = Fake::connect(address).await;
    fake.send(NEXT).await;
    api.ready().await.unwrap();
    drop(api);
    assert!(fake.said().await.is_none());
    let refused = tokio::net::TcpStream::connect(address).await;
    assert!(refused.is_err());
}

/// The clock stands still but for timers, so this takes no time.
#[tokio::test(start_paused = true)]
async fn half_a_head_is_cut_and_a_silent_connection_is_not() {
    let (mut api, address) = serve(about("h")).await;
    let mut silent = Fake::connect(address).await;
    assert_eq!(
        silent.call("GET", "/2018-06-01/ping", "", "").await.status,
        200
    );
    let mut fresh = Fake::connect(address).await;
    let mut stuck = Fake::connect(address).await;
    assert_eq!(
        stuck.call("GET", "/2018-06-01/ping", "", "").await.status,
        200
    );
    stuck.send("GET /2018-06-01/ping HTTP/1.1\r\nhost: ").await;
    assert!(stuck.said().await.is_none());
    for fake in [&mut silent, &mut fresh] {
        assert_eq!(
            fake.call("GET", "/2018-06-01/ping", "", "").await.status,
            200
        );
    }
    still_works(&mut api, address).await;
}

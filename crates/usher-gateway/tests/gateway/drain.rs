//! The end: what is in flight is finished, nothing new begins, and it does not last for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use usher_core::function::Settings;
use usher_gateway::{Bounds, Drained};

use crate::rig::{Fake, Raw, Rig, data, event, fed, figures, reply, text};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_reply_in_flight_is_finished_and_says_that_the_connection_closes() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let held = Arc::clone(&gate);
    let rig = Rig::single(
        Settings::default(),
        Fake(move |_| {
            let gate = Arc::clone(&held);
            async move {
                gate.notified().await;
                text("in time")
            }
        }),
    )
    .await;
    let (address, gauge) = (rig.address, rig.gauge.clone());
    let mut idle = rig.connect().await;
    let mut busy = rig.connect().await;
    busy.send(GET).await;
    figures(&gauge, |now| now.running == 1 && now.connections == 2).await;
    let drained = rig.stop();
    assert_eq!(
        idle.rest().await,
        b"",
        "an idle connection is closed at once"
    );
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
    gate.notify_one();
    let answer = busy.answer().await;
    assert_eq!(answer.body, "in time");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(event(drained).await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_reply_without_end_is_cut_when_the_drain_has_lasted_long_enough() {
    let bounds = Bounds {
        drain_max_ms: 1,
        ..Bounds::default()
    };
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let rig = Rig::with_bounds(
        bounds,
        Settings::default(),
        Fake(move |_| {
            let body = body.lock().unwrap().take().unwrap();
            async { reply(Response::new(body)) }
        }),
    )
    .await;
    let mut raw = rig.connect().await;
    raw.send(GET).await;
    feed.send(data("begun")).unwrap();
    raw.until("begun\r\n").await;
    assert_eq!(event(rig.stop()).await.unwrap(), Drained { cut: 1 });
    assert_eq!(raw.rest().await, b"", "no final chunk");
}

/// What became of the requests of one client.
#[derive(Default)]
struct Account {
    answered: u64,
    /// Answered in part, which no client can mend.
    torn: u64,
}

/// Sends requests until the gateway takes no more.
async fn hammer(address: std::net::SocketAddr) -> Account {
    let mut account = Account::default();
    let Ok(stream) = TcpStream::connect(address).await else {
        return account;
    };
    let mut raw = Raw(stream);
    loop {
        if raw.0.write_all(GET.as_bytes()).await.is_err() {
            return account;
        }
        let mut first = [0];
        match raw.0.read(&mut first).await {
            // Closed between two requests, which HTTP/1.1 allows at any time.
            Ok(0) | Err(_) => return account,
            Ok(_) => {}
        }
        let mut answer = vec![first[0]];
        while !answer.ends_with(b"served") {
            let mut piece = [0; 512];
            match raw.0.read(&mut piece).await {
                Ok(bytes) if bytes > 0 => answer.extend(&piece[..bytes]),
                _ => {
                    account.torn += 1;
                    return account;
                }
            }
        }
        account.answered += 1;
        if answer.windows(17).any(|part| part == b"connection: close") {
            return account;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_no_request_that_was_begun() {
    let begun = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&begun);
    let rig = Rig::single(
        Settings::default(),
        Fake(move |_| {
            let begun = Arc::clone(&counted);
            async move {
                begun.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
                text("served")
            }
        }),
    )
    .await;
    let clients: Vec<_> = (0..16).map(|_| tokio::spawn(hammer(rig.address))).collect();
    let gauge = rig.gauge.clone();
    figures(&gauge, |_| begun.load(Relaxed) > 1_000).await;
    assert_eq!(event(rig.stop()).await.unwrap(), Drained { cut: 0 });
    let (mut answered, mut torn) = (0, 0);
    for client in clients {
        let account = event(client).await.unwrap();
        answered += account.answered;
        torn += account.torn;
    }
    assert_eq!(torn, 0);
    assert_eq!(
        answered,
        begun.load(Relaxed),
        "every request that began was answered"
    );
    let outcomes = &gauge.snapshot().functions[0].figures.outcomes;
    assert_eq!(*outcomes, [("2xx", answered)].into());
}

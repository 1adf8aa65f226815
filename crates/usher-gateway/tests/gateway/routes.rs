//! Which function answers, what it sees of its address, and how the table follows the backbone.

use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::sync::watch;
use usher_api::invoke::{Failure, Invocation, Reply};
use usher_api::record::{FunctionRecord, function_key};
use usher_backbone::{Embedded, KeyValue};
use usher_core::function::Settings;
use usher_gateway::{Bounds, RouteTable};

use crate::rig::{Fake, Rig, event, fed, reply, revision, text};

async fn tell(invocation: Invocation) -> Result<Reply, Failure> {
    let request = &invocation.request;
    let prefix = request.headers().get("x-forwarded-prefix");
    text(format!(
        "{} {} {}",
        invocation.revision.function,
        request.uri(),
        prefix.map_or("-", |prefix| prefix.to_str().unwrap())
    ))
}

async fn named() -> Rig {
    let table = Arc::new(RouteTable::new());
    table.put(revision("default", "hello", Settings::default()));
    table.put(revision("ann", "hello", Settings::default()));
    Rig::start(Bounds::default(), table, Fake(tell)).await
}

#[tokio::test]
async fn functions_answer_at_their_host_names_and_paths() {
    let rig = named().await;
    for (head, told) in [
        (
            "GET /a?b=c HTTP/1.1\r\nhost: hello.localhost:8080\r\n\r\n",
            "default/hello http://hello.localhost:8080/a?b=c -",
        ),
        (
            "GET / HTTP/1.1\r\nhost: hello.ann.localhost\r\n\r\n",
            "ann/hello http://hello.ann.localhost/ -",
        ),
        (
            "GET /fn/hello/a%2Fb/../c?x=/fn/y HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
            "default/hello http://127.0.0.1/a%2Fb/../c?x=/fn/y /fn/hello",
        ),
        (
            "GET /fn/hello.ann?q HTTP/1.1\r\nhost: anything\r\n\r\n",
            "ann/hello http://anything/?q /fn/hello.ann",
        ),
        (
            "GET http://hello.localhost/z HTTP/1.1\r\nhost: other\r\n\r\n",
            "default/hello http://hello.localhost/z -",
        ),
        (
            "GET /fn/hello HTTP/1.0\r\n\r\n",
            "default/hello http://localhost/ /fn/hello",
        ),
    ] {
        let answer = rig.once(head).await;
        assert_eq!(answer.status, 200, "{head}");
        assert_eq!(answer.body, told, "{head}");
    }
}

#[tokio::test]
async fn addresses_that_name_nobody_are_refused_and_counted() {
    let rig = named().await;
    for (head, status, label) in [
        (
            "GET /fn/nobody/ HTTP/1.1\r\nhost: x\r\n\r\n",
            404,
            "no-such-function",
        ),
        (
            "GET / HTTP/1.1\r\nhost: nobody.localhost\r\n\r\n",
            404,
            "no-such-function",
        ),
        (
            "GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
            404,
            "no-such-function",
        ),
        ("GET / HTTP/1.1\r\n\r\n", 400, "bad-request"),
        (
            "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
            400,
            "bad-request",
        ),
        (
            "GET / HTTP/1.1\r\nhost: u@hello.localhost\r\n\r\n",
            400,
            "bad-request",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nhost: hello.localhost\r\n\r\n",
            400,
            "bad-request",
        ),
        (
            "CONNECT hello.localhost:80 HTTP/1.1\r\nhost: hello.localhost\r\n\r\n",
            400,
            "bad-request",
        ),
    ] {
        let answer = rig.once(head).await;
        assert_eq!(answer.status, status, "{head}");
        let error = answer.error();
        assert_eq!(error["label"], label, "{head}");
        assert_eq!(error["blame"], "caller");
        assert_eq!(error["request_id"], answer.header("x-request-id").unwrap());
        assert_eq!(answer.header("usher-run"), None, "nobody served {head}");
    }
    let unrouted = rig.gauge.snapshot().unrouted.outcomes;
    assert_eq!(
        unrouted,
        [("no-such-function", 3), ("bad-request", 5)].into()
    );
}

#[tokio::test]
async fn a_single_function_answers_at_every_address() {
    let rig = Rig::single(Settings::default(), Fake(tell)).await;
    let answer = rig.get("/fn/other/x?y").await;
    assert_eq!(answer.body, "default/only http://x/fn/other/x?y -");
    for target in [
        "GET / HTTP/1.1\r\nhost: u@x",
        "OPTIONS * HTTP/1.1\r\nhost: x",
    ] {
        let answer = rig.once(&format!("{target}\r\n\r\n")).await;
        assert_eq!(answer.status, 400, "{target}");
    }
}

fn record(name: &str, number: u64) -> FunctionRecord {
    let mut current = revision("default", name, Settings::default());
    current.number = number;
    FunctionRecord::first(current, 0)
}

async fn write(store: &Embedded, record: &FunctionRecord) -> u64 {
    let value = Bytes::from(serde_json::to_vec(record).unwrap());
    store.put(&function_key(&record.key), value).await.unwrap()
}

async fn reached(applied: &mut watch::Receiver<u64>, revision: u64) {
    event(applied.wait_for(|applied| *applied >= revision))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_backbone_acknowledged_and_the_table_applied_is_what_the_next_request_meets() {
    let folder = TempDir::new().unwrap();
    let store = Arc::new(Embedded::open(folder.path(), usher_backbone::Limits::default()).unwrap());
    write(&store, &record("early", 1)).await;
    let table = Arc::new(RouteTable::new());
    let mut applied = table.applied();
    let (following, followed) = (Arc::clone(&table), Arc::clone(&store));
    let follower = tokio::spawn(async move { following.follow(&*followed).await });
    let rig = Rig::start(
        Bounds::default(),
        table,
        Fake(async |invocation: Invocation| text(invocation.revision.number.to_string())),
    )
    .await;

    let written = write(&store, &record("late", 1)).await;
    reached(&mut applied, written).await;
    assert_eq!(rig.get("/fn/early").await.body, "1");
    assert_eq!(rig.get("/fn/late").await.body, "1");
    let written = write(&store, &record("late", 2)).await;
    reached(&mut applied, written).await;
    assert_eq!(rig.get("/fn/late").await.body, "2");

    // A record that nobody can read stops neither what it was before nor what follows.
    let key = function_key(&record("late", 0).key);
    store.put(&key, Bytes::from_static(b"{")).await.unwrap();
    let written = store
        .delete(&function_key(&record("early", 0).key), None)
        .await
        .unwrap();
    reached(&mut applied, written).await;
    assert_eq!(rig.get("/fn/early").await.status, 404);
    assert_eq!(rig.get("/fn/late").await.body, "2");
    let figures = rig.gauge.snapshot();
    assert_eq!(figures.functions.len(), 1);
    assert_eq!(
        figures.functions[0].figures.outcomes,
        [("2xx", 3)].into(),
        "counters outlive a revision"
    );
    follower.abort();
}

#[tokio::test]
async fn a_request_in_flight_keeps_its_revision_when_the_function_goes() {
    let table = Arc::new(RouteTable::new());
    table.put(revision("default", "hello", Settings::default()));
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let invoker = Fake(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async move { reply(http::Response::new(body)) }
    });
    let rig = Rig::start(Bounds::default(), Arc::clone(&table), invoker).await;
    let mut raw = rig.connect().await;
    raw.send("GET /fn/hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    raw.until("\r\n\r\n").await;
    table.remove(&revision("default", "hello", Settings::default()).function);
    assert_eq!(rig.get("/fn/hello").await.status, 404);
    feed.send(crate::rig::data("still here")).unwrap();
    assert_eq!(raw.chunk().await.unwrap(), "still here");
    drop(feed);
    assert_eq!(raw.chunk().await, None);
}

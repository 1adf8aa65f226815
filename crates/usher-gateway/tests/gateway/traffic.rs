//! Splits and aliases: which revision a request gets, and that it keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use usher_api::invoke::Invocation;
use usher_api::record::{FunctionRecord, KeptRevision};
use usher_core::function::{Isolation, Settings};
use usher_core::id::{Digest, RevisionId};
use usher_core::traffic::{Share, Split};
use usher_gateway::{Bounds, RouteTable};

use crate::rig::{Fake, Rig, fed, reply, revision, text};

const REQUESTS: usize = 600;

/// A function with the revisions 1 and 2, of which `current` serves.
fn record(name: &str, settings: Settings) -> FunctionRecord {
    let of = |number: u8| {
        let mut revision = revision("default", name, settings.clone());
        revision.number = number.into();
        revision.id = RevisionId(Digest([number; 32]));
        revision
    };
    let mut record = FunctionRecord::first(of(1), 0);
    record.kept = vec![KeptRevision {
        revision: of(2),
        deployed_us: 0,
    }];
    record
}

fn split(one: u32, two: u32) -> Option<Split> {
    let share = |revision, weight| Share { revision, weight };
    Some(Split::new(vec![share(1, one), share(2, two)]).unwrap())
}

async fn start(table: &Arc<RouteTable>) -> Rig {
    let invoker = Fake(async |invocation: Invocation| text(invocation.revision.number.to_string()));
    Rig::start(Bounds::default(), Arc::clone(table), invoker).await
}

/// Whether so many of all are what chance allows for this share: within five standard deviations
/// of a binomial distribution, which chance leaves once in two million runs.
fn is_chance(found: usize, of: usize, share: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (found, of) = (found as f64, of as f64);
    let deviation = (of * share * (1.0 - share)).sqrt();
    (found - of * share).abs() <= 5.0 * deviation
}

/// How many of the requests the second revision got.
async fn count_second(rig: &Rig, path: &str) -> usize {
    let mut second = 0;
    for _ in 0..REQUESTS {
        second += usize::from(rig.get(path).await.body == "2");
    }
    second
}

#[tokio::test]
async fn traffic_is_shared_out_by_weight() {
    let table = Arc::new(RouteTable::new());
    let mut hello = record("hello", Settings::default());
    hello.live = split(90, 10);
    table.put_record(&hello);
    let rig = start(&table).await;
    let second = count_second(&rig, "/fn/hello").await;
    assert!(is_chance(second, REQUESTS, 0.1), "{second} of {REQUESTS}");
    // The control: another split is found out by the same bound.
    hello.live = split(50, 50);
    table.put_record(&hello);
    let second = count_second(&rig, "/fn/hello").await;
    assert!(!is_chance(second, REQUESTS, 0.1), "{second} of {REQUESTS}");
    // One function, one row of figures.
    assert_eq!(rig.gauge.snapshot().functions.len(), 1);
}

#[tokio::test]
async fn an_alias_has_an_address_and_a_function_of_that_name_comes_first() {
    let table = Arc::new(RouteTable::new());
    let mut hello = record("hello", Settings::default());
    hello
        .aliases
        .insert("next".parse().unwrap(), Split::whole(2));
    table.put_record(&hello);
    let rig = start(&table).await;
    for (host, path, number) in [
        ("x", "/fn/hello/", "1"),
        ("x", "/fn/hello@live/", "1"),
        ("x", "/fn/hello@next/", "2"),
        ("next--hello.localhost", "/", "2"),
        ("live--hello.localhost", "/", "1"),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        let answer = rig.once(&head).await;
        assert_eq!(answer.body, number, "{host} {path}");
    }
    for (host, path) in [("x", "/fn/hello@old/"), ("old--hello.localhost", "/")] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(rig.once(&head).await.status, 404, "{host} {path}");
    }
    let mut own = revision("default", "next--hello", Settings::default());
    own.number = 7;
    table.put(own);
    let head = "GET / HTTP/1.1\r\nhost: next--hello.localhost\r\n\r\n";
    assert_eq!(rig.once(head).await.body, "7");
    assert_eq!(rig.get("/fn/hello@next/").await.body, "2");
}

#[tokio::test]
async fn a_key_keeps_its_revision_for_as_long_as_the_weights_stand() {
    let table = Arc::new(RouteTable::new());
    let settings = Settings {
        isolation: Isolation::Key("header:x-tenant".parse().unwrap()),
        ..Settings::default()
    };
    let mut hello = record("hello", settings);
    hello.live = split(50, 50);
    table.put_record(&hello);
    let rig = start(&table).await;
    let get = async |key: usize| {
        let head = format!("GET /fn/hello HTTP/1.1\r\nhost: x\r\nx-tenant: t{key}\r\n\r\n");
        rig.once(&head).await.body
    };
    let mut first = BTreeMap::new();
    for round in 0..8 {
        for key in 0..16 {
            let got = get(key).await;
            let before = first.entry(key).or_insert_with(|| got.clone());
            assert_eq!(*before, got, "key {key} in round {round}");
        }
        // A record that says the same again, such as after a change of another alias.
        table.put_record(&hello);
    }
    let seen: std::collections::BTreeSet<_> = first.values().collect();
    assert_eq!(seen.len(), 2, "both revisions have keys: {first:?}");
    let nobody = rig.get("/fn/hello").await;
    assert_eq!(nobody.status, 400, "whoever it would have got");
}

#[tokio::test]
async fn a_request_keeps_its_revision_when_traffic_moves() {
    let table = Arc::new(RouteTable::new());
    let mut hello = record("hello", Settings::default());
    table.put_record(&hello);
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let invoker = Fake(move |invocation: Invocation| {
        let body = body.lock().unwrap().take();
        async move {
            match body {
                Some(body) => reply(http::Response::new(body)),
                None => text(invocation.revision.number.to_string()),
            }
        }
    });
    let rig = Rig::start(Bounds::default(), Arc::clone(&table), invoker).await;
    let mut raw = rig.connect().await;
    raw.send("GET /fn/hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    raw.until("\r\n\r\n").await;
    hello.live = Some(Split::whole(2));
    table.put_record(&hello);
    assert_eq!(rig.get("/fn/hello").await.body, "2");
    feed.send(crate::rig::data("still the first")).unwrap();
    assert_eq!(raw.chunk().await.unwrap(), "still the first");
    drop(feed);
    assert_eq!(raw.chunk().await, None);
}

#[tokio::test]
async fn all_revisions_of_a_function_stand_in_one_line_with_the_bounds_of_the_main_one() {
    let table = Arc::new(RouteTable::new());
    let mut hello = record("hello", Settings::default());
    hello
        .aliases
        .insert("next".parse().unwrap(), Split::whole(2));
    let tight = &mut hello.current.settings.limits;
    (tight.concurrency_max, tight.queue_max) = (1, 0);
    table.put_record(&hello);
    let (feed, body) = fed();
    let body = std::sync::Mutex::new(Some(body));
    let invoker = Fake(move |_| {
        let body = body.lock().unwrap().take().unwrap_or_default();
        async move { reply(http::Response::new(body)) }
    });
    let rig = Rig::start(Bounds::default(), Arc::clone(&table), invoker).await;
    let mut raw = rig.connect().await;
    raw.send("GET /fn/hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    raw.until("\r\n\r\n").await;
    // The other revision would have room by its own settings.
    assert_eq!(rig.get("/fn/hello@next").await.status, 429);
    drop(feed);
    assert_eq!(raw.chunk().await, None);
    drop(raw);
    hello.live = Some(Split::whole(2));
    std::mem::swap(&mut hello.current, &mut hello.kept[0].revision);
    hello
        .aliases
        .insert("next".parse().unwrap(), Split::whole(1));
    table.put_record(&hello);
    assert_eq!(rig.get("/fn/hello@next").await.status, 200);
}

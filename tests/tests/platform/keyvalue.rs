//! Buckets: state that a function shares on purpose. It outlives requests, restarts and kills, is
//! atomic, has bounds, and is seen by nobody who is not granted it.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use crate::caller::{Answer, Caller};
use crate::folder::Folder;
use crate::server::Server;

const GRANT: &str = "[keyvalue]\nbuckets = [\"default\", \"owner:shared\"]\n";
/// Requests at once.
const AT_ONCE: usize = 16;
/// And how many of each.
const EACH: usize = 6;

async fn get(caller: &Caller, function: &str, query: &str) -> Answer {
    caller.get(&format!("/fn/{function}/?{query}")).await
}

/// The numbers that so many requests at once are answered.
async fn numbers(caller: &Caller, function: &str, query: &str) -> BTreeSet<usize> {
    let calls = (0..AT_ONCE * EACH).map(|_| get(caller, function, query));
    let answers = join_all(calls).await;
    answers
        .iter()
        .map(|it| it.text().parse().unwrap())
        .collect()
}

/// Under concurrency, with every request in a clean area, each addition counts once, also after the
/// platform was killed.
async fn counts(component: &str, mode: &str, also: &[&str]) {
    let data = Folder::new();
    let mut server = Server::up(data.path()).await;
    let folder = Folder::function("it", component, GRANT);
    let told = server.run(&["deploy", folder.text()]).await.done();
    let image = &told[0]["function"]["image"];
    assert_eq!(image["mode"], mode, "{image}");
    for (round, query) in also.iter().chain(&["add=count"]).enumerate() {
        let caller = Caller::new(server.gateway);
        let all = AT_ONCE * EACH;
        assert_eq!(
            numbers(&caller, "it", query).await,
            (1..=all).collect(),
            "{query}"
        );
        let calls = get(&caller, "it", "calls").await;
        assert_eq!(calls.text(), "1", "the instance itself is clean");
        assert!(["swap", "fresh"].contains(&calls.run().renewal.as_str()));
        // What was answered is on the disk.
        let key = query.split_once('=').unwrap().1;
        if round == 0 {
            server.kill().await;
            server = Server::up(data.path()).await;
        }
        let caller = Caller::new(server.gateway);
        let kept = get(&caller, "it", &format!("get={key}")).await;
        assert_eq!(kept.text(), all.to_string(), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_in_rust_counts_in_a_bucket() {
    counts("rust-bucket", "live", &["swap=swapped"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_in_python_counts_in_a_bucket() {
    counts("py-tally", "live", &[]).await;
}

/// Neither another function nor another owner sees it, whatever keys they try; what is shared
/// within an owner is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_sees_a_bucket() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    for (name, owner) in [("one", "default"), ("two", "default"), ("one", "other")] {
        let folder = Folder::function(name, "rust-bucket", GRANT);
        let deploy = ["deploy", folder.text(), "--owner", owner];
        server.run(&deploy).await.done();
    }
    let keys = [
        "key",
        ".",
        "a.b",
        "../two",
        "%2Fa",
        "%00",
        "%F0%9F%92%A7",
        "default.one.default",
    ];
    for key in keys {
        let set = get(&caller, "one", &format!("set={key}&value=mine")).await;
        assert_eq!(set.text(), "set", "{key}");
        assert_eq!(
            get(&caller, "one", &format!("get={key}")).await.text(),
            "mine"
        );
        for stranger in ["two", "one.other"] {
            let seen = get(&caller, stranger, &format!("get={key}")).await;
            assert_eq!(seen.status, 404, "{stranger} {key}");
            let seen = get(&caller, stranger, &format!("has={key}")).await;
            assert_eq!(seen.text(), "false", "{stranger} {key}");
        }
    }
    assert_eq!(
        get(&caller, "one", "keys").await.text().lines().count(),
        keys.len()
    );
    for stranger in ["two", "one.other"] {
        assert_eq!(get(&caller, stranger, "keys").await.text(), "");
        get(&caller, stranger, "delete=key").await.text();
    }
    assert_eq!(get(&caller, "one", "get=key").await.text(), "mine");
    get(&caller, "one", "bucket=owner%3Ashared&set=k&value=ours")
        .await
        .text();
    let shared = "bucket=owner%3Ashared&get=k";
    assert_eq!(get(&caller, "two", shared).await.text(), "ours");
    assert_eq!(get(&caller, "one.other", shared).await.status, 404);
    // The name of another one's bucket opens nothing.
    for bucket in [
        "other",
        "owner%3Adefault",
        "two",
        "default.two.default",
        "..",
        "",
    ] {
        let denied = get(&caller, "one", &format!("bucket={bucket}&keys")).await;
        assert_eq!(denied.status, 403, "{bucket}");
    }
    // It is the name's and not the revision's: a changed function goes on where it was.
    let lines = format!("{GRANT}[limits]\nidle_max_ms = 1234\n");
    let changed = Folder::function("one", "rust-bucket", &lines);
    server.run(&["deploy", changed.text()]).await.done();
    assert_eq!(get(&caller, "one", "get=key").await.text(), "mine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_grant_the_deployment_is_refused_with_the_reason() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    for (component, lines) in [
        ("rust-bucket", ""),
        ("rust-bucket", "renewal = \"fresh\"\n"),
        ("rust-bucket", "[keyvalue]\nkeys_max = 5\n"),
    ] {
        let folder = Folder::function("it", component, lines);
        let error = server.run(&["deploy", folder.text()]).await.error();
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("wasi:keyvalue") && message.contains("buckets ="),
            "{message}"
        );
    }
    // The control: the same component with the grant.
    let folder = Folder::function("it", "rust-bucket", GRANT);
    server.run(&["deploy", folder.text()]).await.done();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_are_told_and_others_have_room_all_the_same() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    let lines = format!("{GRANT}keys_max = 5\nvalue_max_bytes = 10\nbucket_max_bytes = 60\n");
    let small = Folder::function("small", "rust-bucket", &lines);
    server.run(&["deploy", small.text()]).await.done();
    let large = Folder::function("large", "rust-bucket", GRANT);
    server.run(&["deploy", large.text()]).await.done();
    assert_eq!(get(&caller, "small", "fill=9&value=1").await.text(), "5");
    let told = get(&caller, "small", "set=more&value=1").await;
    assert_eq!(told.status, 500);
    assert!(
        String::from_utf8_lossy(&told.body).contains("keyvalue.keys_max is 5"),
        "{told:?}"
    );
    let told = get(&caller, "small", "set=fill0&value=12345678901").await;
    assert!(
        String::from_utf8_lossy(&told.body).contains("value_max_bytes is 10"),
        "{told:?}"
    );
    get(&caller, "small", "delete=fill0").await.text();
    let told = get(
        &caller,
        "small",
        "set=a_key_of_many_letters_and_more&value=1234567890",
    )
    .await;
    assert!(
        String::from_utf8_lossy(&told.body).contains("bucket_max_bytes is 60"),
        "{told:?}"
    );
    assert_eq!(
        get(&caller, "small", "set=fill9&value=1").await.text(),
        "set"
    );
    assert_eq!(get(&caller, "large", "fill=9&value=1").await.text(), "9");
    let batch = get(&caller, "large", "batch=a,b,a&value=v").await;
    assert_eq!(batch.text(), "a=v\nb=v\na=v");
}

/// Handles of buckets and looks that a run leaves open are given back, and the next run begins as
/// in a new instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_that_are_left_are_given_back() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    let lines = format!("{GRANT}[limits]\nconcurrency_max = 1\n");
    let folder = Folder::function("it", "rust-bucket", &lines);
    server.run(&["deploy", folder.text()]).await.done();
    let mut environments = BTreeSet::new();
    for _ in 0..10 {
        let left = get(&caller, "it", "leak").await;
        assert_eq!(left.text(), "left");
        environments.insert(left.run().environment);
        let calls = get(&caller, "it", "calls").await;
        assert_eq!(calls.text(), "1");
        environments.insert(calls.run().environment);
    }
    assert_eq!(environments.len(), 1, "it was put back each time");
}

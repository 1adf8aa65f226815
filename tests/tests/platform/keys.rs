//! State that is kept by key: it grows within a key and never crosses to another one, for
//! components and for programs, and what loses it.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use usher_api::body::Body;
use usher_core::id::{FunctionKey, Name};

use crate::caller::{Answer, Caller};
use crate::folder::Folder;
use crate::server::Server;
use crate::{count, event};

const BY_KEY: &str = "isolation = { key = \"header:x-tenant\" }\n";
/// Room for slow starts of programs while others build beside them.
const PATIENT: &str = "[limits]\nqueue_wait_max_ms = 60000\nstart_max_ms = 60000\n";
const KEYS: usize = 5;
/// Requests of each key, all at once.
const EACH: usize = 20;

async fn get_as(caller: &Caller, path: &str, key: &str) -> Answer {
    let request = caller.request(path).header("x-tenant", key);
    caller.whole(request.body(Body::Empty).unwrap()).await
}

/// The answers to all keys' requests at once, by key.
async fn all_at_once(caller: &Caller, path: &str) -> Vec<Vec<Answer>> {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("tenant{key}")).collect();
    let calls = (0..EACH).flat_map(|_| &keys);
    let mut answers = join_all(calls.map(|key| get_as(caller, path, key))).await;
    let mut by_key = vec![Vec::new(); KEYS];
    for nth in (0..answers.len()).rev() {
        by_key[nth % KEYS].extend(answers.pop());
    }
    by_key
}

/// Under concurrency each key counts from 1 on without a gap, in one environment that is its own.
async fn grows_per_key_and_never_across(folder: &Folder, path: &str) {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let told = server.run(&["deploy", folder.text()]).await.done();
    assert_eq!(told[0]["function"]["image"]["mode"], "kept", "{told:?}");
    let caller = Caller::new(server.gateway);
    let mut environments = BTreeSet::new();
    for answers in all_at_once(&caller, path).await {
        let counts = answers.iter().map(|it| it.text().parse::<usize>().unwrap());
        assert_eq!(counts.collect::<BTreeSet<_>>(), (1..=EACH).collect());
        let runs: Vec<_> = answers.iter().map(Answer::run).collect();
        let kept = runs.iter().filter(|run| run.renewal == "kept");
        assert_eq!(kept.count(), EACH - 1, "all but the first");
        assert!(
            runs.iter()
                .all(|run| run.environment == runs[0].environment)
        );
        assert!(
            environments.insert(runs[0].environment),
            "it is another key's"
        );
    }
    let shown = server.run(&["show", "it"]).await.done();
    assert_eq!(shown[0]["status"]["keys"], KEYS, "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_count_per_key_and_never_across() {
    for (component, lines) in [
        ("rust-counter", ""),
        ("rust-counter", "renewal = \"fresh\"\n"),
        ("js-counter", ""),
        ("py-counter", ""),
    ] {
        let lines = format!("{BY_KEY}{lines}{PATIENT}");
        let folder = Folder::function("it", component, &lines);
        grows_per_key_and_never_across(&folder, "/fn/it/").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_count_per_key_and_never_across() {
    for example in ["http-c", "lambda-python"] {
        let folder = Folder::program(example, "it", BY_KEY, PATIENT);
        grows_per_key_and_never_across(&folder, "/fn/it/counter").await;
    }
}

/// The control of the two above: without keys all tenants count together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_keys_tenants_count_together() {
    let data = Folder::new();
    let lines = "isolation = \"none\"\n[limits]\nconcurrency_max = 1\n";
    let folder = Folder::function("it", "rust-counter", lines);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", folder.text()]).await.done();
    let answers = all_at_once(&Caller::new(server.gateway), "/fn/it/").await;
    let counts = answers.iter().flatten();
    let counts = counts.map(|it| it.text().parse::<usize>().unwrap());
    assert_eq!(counts.collect::<BTreeSet<_>>(), (1..=KEYS * EACH).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_names_one_key_or_is_refused() {
    let data = Folder::new();
    let folder = Folder::function("it", "rust-counter", BY_KEY);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let long = "a".repeat(257);
    for (keys, said) in [
        (vec![], "missing"),
        (vec![""], "missing"),
        (vec!["secret", "secret"], "more than once"),
        (vec![long.as_str()], "longer than 256 bytes"),
    ] {
        let mut request = caller.request("/fn/it/");
        for key in &keys {
            request = request.header("x-tenant", *key);
        }
        let answer = caller.whole(request.body(Body::Empty).unwrap()).await;
        let error = answer.error(400);
        assert_eq!(error["label"], "bad-key");
        assert_eq!(error["blame"], "caller");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("x-tenant") && message.contains(said),
            "{message}"
        );
        assert!(!message.contains("secret"), "{message}");
    }
    // One that belongs to the connection would not reach the function.
    let request = caller.request("/fn/it/").header("x-tenant", "a");
    let request = request.header("connection", "x-tenant");
    let answer = caller.whole(request.body(Body::Empty).unwrap()).await;
    assert_eq!(answer.error(400)["label"], "bad-key");
    // None of them has used anything up.
    assert_eq!(get_as(&caller, "/fn/it/", "a").await.text(), "1");
    // The logs tell tenants apart, and not what they are called.
    let answer = get_as(&caller, "/fn/it/", "a-secret-session").await;
    let id = answer.request_id();
    let lines = server.run(&["logs", "it", "--request", id]).await.done();
    assert_eq!(
        lines[0]["key"].as_str().map(str::len),
        Some(12),
        "{lines:?}"
    );
    let all = server.run(&["logs", "it"]).await.done();
    assert!(!format!("{all:?}").contains("a-secret-session"));
}

/// A component and a program, with these lines at the end of their manifests, and where they count.
fn counters(end: &str) -> [(Folder, &'static str); 2] {
    let lines = format!("{BY_KEY}{PATIENT}{end}");
    [
        (Folder::function("it", "rust-counter", &lines), "/fn/it/"),
        (
            Folder::program("http-c", "it", BY_KEY, &format!("{PATIENT}{end}")),
            "/fn/it/counter",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_too_many_and_a_restart_lose_state() {
    for (folder, path) in counters("[keep]\nkeys_max = 2\n") {
        let data = Folder::new();
        let mut server = Server::up(data.path()).await;
        server.run(&["deploy", folder.text()]).await.done();
        let caller = Caller::new(server.gateway);
        let calls = [
            ("a", "1"),
            ("b", "1"),
            ("a", "2"),
            ("c", "1"),
            ("a", "3"),
            ("b", "1"),
        ];
        for (key, count) in calls {
            assert_eq!(get_as(&caller, path, key).await.text(), count, "{key}");
        }
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(0));
        let server = Server::up(data.path()).await;
        let caller = Caller::new(server.gateway);
        assert_eq!(get_as(&caller, path, "a").await.text(), "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_used_loses_its_state() {
    for (folder, path) in counters("[keep]\nkey_idle_max_s = 1\n") {
        let data = Folder::new();
        let server = Server::up(data.path()).await;
        server.run(&["deploy", folder.text()]).await.done();
        let caller = Caller::new(server.gateway);
        get_as(&caller, path, "a").await.text();
        let client = server.client();
        let unused =
            async { while figure(&client.metrics().await.unwrap(), "usher_keys") != Some(0) {} };
        event("the key is given up", unused).await;
        let metrics = client.metrics().await.unwrap();
        assert!(
            figure(&metrics, "usher_keys_expired_total") >= Some(1),
            "{metrics}"
        );
        assert_eq!(figure(&metrics, "usher_keys_given_up_total"), Some(0));
        assert_eq!(get_as(&caller, path, "a").await.text(), "1");
    }
    // The control: a key that may be unused for longer keeps its state meanwhile.
    let data = Folder::new();
    let folder = Folder::function("it", "rust-counter", BY_KEY);
    let other = Folder::function("other", "rust-counter", "[keep]\nidle_max_s = 1\n");
    let server = Server::up(data.path()).await;
    for folder in [&folder, &other] {
        server.run(&["deploy", folder.text()]).await.done();
    }
    let caller = Caller::new(server.gateway);
    assert_eq!(get_as(&caller, "/fn/it/", "a").await.text(), "1");
    let client = server.client();
    let other = FunctionKey {
        owner: Name::default_owner(),
        name: "other".parse().unwrap(),
    };
    let ended = async { while client.show(&other).await.unwrap().status.clean != 0 {} };
    event("what may be idle as long has ended", ended).await;
    assert_eq!(get_as(&caller, "/fn/it/", "a").await.text(), "2");
}

/// A figure of the function `it` in the platform's metrics.
fn figure(metrics: &str, name: &str) -> Option<usize> {
    let line = format!("{name}{{owner=\"default\",function=\"it\"}} ");
    let mut found = metrics.lines().filter_map(|text| text.strip_prefix(&line));
    found.next().map(|figure| figure.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_costs_one_key_its_state() {
    let data = Folder::new();
    let folder = Folder::program("http-c", "it", BY_KEY, PATIENT);
    let server = Server::up(data.path()).await;
    server.run(&["deploy", folder.text()]).await.done();
    let caller = Caller::new(server.gateway);
    for (key, count) in [("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")] {
        let answer = get_as(&caller, "/fn/it/counter", key).await;
        assert_eq!(answer.text(), count, "{key}");
    }
    let crashed = get_as(&caller, "/fn/it/crash", "a").await;
    assert_eq!(crashed.error(502)["label"], "trap");
    for (key, count) in [("a", "1"), ("b", "3")] {
        let answer = get_as(&caller, "/fn/it/counter", key).await;
        assert_eq!(answer.text(), count, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_keys_is_bounded_and_others_are_served() {
    let data = Folder::new();
    let lines = format!("{BY_KEY}[keep]\nkeys_max = 8\n");
    let folder = Folder::function("it", "rust-counter", &lines);
    let beside = Folder::function("beside", "rust-counter", "");
    let server = Server::up(data.path()).await;
    for folder in [&folder, &beside] {
        server.run(&["deploy", folder.text()]).await.done();
    }
    let caller = Caller::new(server.gateway);
    let mut counted = 0;
    for nth in 0..count() {
        let key = format!("nobody{nth}");
        let (stranger, tenant, other) = tokio::join!(
            get_as(&caller, "/fn/it/", &key),
            get_as(&caller, "/fn/it/", "tenant"),
            caller.get("/fn/beside/"),
        );
        assert_eq!(stranger.text(), "1");
        assert_eq!(other.text(), "1");
        // Used all the time, it is never the one that was used least recently.
        counted += 1;
        assert_eq!(tenant.text(), counted.to_string());
    }
    let metrics = server.client().metrics().await.unwrap();
    assert_eq!(figure(&metrics, "usher_keys"), Some(8));
    let given_up = figure(&metrics, "usher_keys_given_up_total");
    assert_eq!(given_up, Some(count() + 1 - 8));
}

//! Revisions: aliases, weighted traffic, and changes of both under load without a failed request,
//! for components and for programs.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tokio::task::JoinSet;
use usher_api::client::Client;
use usher_core::id::{FunctionKey, Name};

use crate::caller::Caller;
use crate::folder::Folder;
use crate::server::Server;
use crate::{count, event, tiny};

/// Callers at the same time.
const CALLERS: usize = 4;
/// Answers of the callers together between two changes.
const BETWEEN: usize = 40;
/// Most requests of which it is counted who got them.
const COUNTED_MAX: usize = 20_000;

/// What each answer was, in one word: its status, or its body.
type Word = fn(&crate::caller::Answer) -> String;

/// Callers that ask again and again until they are stopped.
struct Load {
    callers: JoinSet<Vec<String>>,
    answered: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
}

impl Load {
    fn begin(caller: &Caller, path: &'static str, word: Word) -> Self {
        let (answers, answered) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (caller, answers, stopped) = (caller.clone(), answers.clone(), stopped.clone());
            callers.spawn(async move {
                let mut words = Vec::new();
                while !*stopped.borrow() {
                    words.push(word(&caller.get(path).await));
                    answers.send_modify(|count| *count += 1);
                }
                words
            });
        }
        Self {
            callers,
            answered,
            stop,
        }
    }

    /// Waits until so many more were answered.
    async fn more(&mut self, count: usize) {
        let goal = *self.answered.borrow() + count;
        let reached = self.answered.wait_for(|answered| *answered >= goal);
        event("answers under load", reached).await.unwrap();
    }

    /// All words that were said.
    async fn end(self) -> Vec<String> {
        self.stop.send_replace(true);
        self.callers.join_all().await.concat()
    }
}

fn status(answer: &crate::caller::Answer) -> String {
    answer.status.as_u16().to_string()
}

/// The body of a success, or the status.
fn text(answer: &crate::caller::Answer) -> String {
    match answer.status.as_u16() {
        200 => answer.text().to_owned(),
        other => other.to_string(),
    }
}

fn key(name: &str) -> FunctionKey {
    FunctionKey {
        owner: Name::default_owner(),
        name: name.parse().unwrap(),
    }
}

/// Rolls back and forth, and splits traffic between the two, while requests come; each change is
/// met by the next request once it is acknowledged.
async fn is_changed_under_load(server: &Server, load: &mut Load, word: Word, words: [&str; 2]) {
    let (client, hello) = (server.client(), key("hello"));
    let caller = Caller::new(server.gateway);
    let next = async || word(&caller.get("/fn/hello/").await);
    for _ in 0..2 {
        load.more(BETWEEN).await;
        let back = client.roll_back(&hello, None).await.unwrap();
        assert!(!back.unchanged);
        assert_eq!(next().await, words[0]);
        load.more(BETWEEN).await;
        let shares = ["v1=50", "v2=50"].map(|text| text.parse().unwrap());
        client.set_traffic(&hello, shares.to_vec()).await.unwrap();
        load.more(BETWEEN).await;
        let to = Some("v2".parse().unwrap());
        client.roll_back(&hello, to).await.unwrap();
        assert_eq!(next().await, words[1]);
    }
}

fn only(words: Vec<String>, expected: &[&str]) {
    let seen: BTreeSet<_> = words.iter().map(String::as_str).collect();
    let expected: BTreeSet<_> = expected.iter().copied().collect();
    assert_eq!(seen, expected, "of {} requests", words.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_component_is_deployed_and_rolled_back_under_load_without_a_failed_request() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let client = server.client();
    tiny::deploy(&client, "hello", 211).await.unwrap();
    let caller = Caller::new(server.gateway);
    let mut load = Load::begin(&caller, "/fn/hello/", status);
    load.more(BETWEEN).await;
    tiny::deploy(&client, "hello", 212).await.unwrap();
    assert_eq!(status(&caller.get("/fn/hello/").await), "212");
    is_changed_under_load(&server, &mut load, status, ["211", "212"]).await;
    tiny::deploy(&client, "hello", 213).await.unwrap();
    load.more(BETWEEN).await;
    only(load.end().await, &["211", "212", "213"]);

    // The control: the load does see a function that goes.
    let mut load = Load::begin(&caller, "/fn/hello/", status);
    load.more(BETWEEN).await;
    client.delete(&key("hello")).await.unwrap();
    load.more(BETWEEN).await;
    only(load.end().await, &["213", "404"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_is_deployed_and_rolled_back_under_load_without_a_failed_request() {
    let data = Folder::new();
    let limits = "[limits]\nconcurrency_max = 8\nqueue_wait_max_ms = 60000\nstart_max_ms = 60000";
    let revision = |guest: &str| {
        let folder = Folder::program("http-c", "hello", "", limits);
        folder.insert(
            "[process]",
            &format!("environment = {{ GUEST = \"{guest}\" }}"),
        );
        folder
    };
    let (first, second) = (revision("hello"), revision("counter"));
    let server = Server::up(data.path()).await;
    server.run(&["deploy", first.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let said = text(&caller.get("/fn/hello/").await);
    let mut load = Load::begin(&caller, "/fn/hello/", text);
    load.more(BETWEEN).await;
    server.run(&["deploy", second.text()]).await.done();
    assert_eq!(text(&caller.get("/fn/hello/").await), "1");
    is_changed_under_load(&server, &mut load, text, [&said, "1"]).await;
    only(load.end().await, &[&said, "1"]);
}

/// Whether so many of all are what chance allows for this share: within five standard deviations
/// of a binomial distribution, which chance leaves once in two million runs.
fn is_chance(found: usize, of: usize, share: f64) -> bool {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    let (found, of) = (number(found), number(of));
    let deviation = (of * share * (1.0 - share)).sqrt();
    (found - of * share).abs() <= 5.0 * deviation
}

/// How many of the requests this status answered; all were answered by one of the two revisions.
async fn count_answers(caller: &Caller, path: &'static str, requests: usize, word: &str) -> usize {
    let mut callers = JoinSet::new();
    for nth in 0..CALLERS {
        let caller = caller.clone();
        callers.spawn(async move {
            let mut words = Vec::new();
            for _ in (nth..requests).step_by(CALLERS) {
                words.push(status(&caller.get(path).await));
            }
            words
        });
    }
    let words = callers.join_all().await.concat();
    assert!(words.iter().all(|word| word == "211" || word == "212"));
    words.iter().filter(|said| *said == word).count()
}

async fn split(client: &Client, shares: [&str; 2]) {
    let shares = shares.map(|text| text.parse().unwrap());
    let hello = key("hello");
    let split = client.set_traffic(&hello, shares.to_vec());
    split.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_is_shared_out_within_what_chance_allows() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let (client, caller) = (server.client(), Caller::new(server.gateway));
    tiny::deploy(&client, "hello", 211).await.unwrap();
    tiny::stage(&client, "hello", 212).await.unwrap();
    let requests = count().min(COUNTED_MAX);
    let none = count_answers(&caller, "/fn/hello/", 50, "212").await;
    assert_eq!(none, 0, "what is staged gets nothing");
    split(&client, ["v2=10", "v1=90"]).await;
    let tenth = count_answers(&caller, "/fn/hello/", requests, "212").await;
    assert!(is_chance(tenth, requests, 0.1), "{tenth} of {requests}");
    // The control: another split is found out by the same bound.
    split(&client, ["v2=30", "v1=70"]).await;
    let other = count_answers(&caller, "/fn/hello/", requests, "212").await;
    assert!(!is_chance(other, requests, 0.1), "{other} of {requests}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revisions_are_named_split_and_shown_by_the_commands() {
    let data = Folder::new();
    let server = Server::up(data.path()).await;
    let (client, caller) = (server.client(), Caller::new(server.gateway));
    for status in [211, 212, 213] {
        tiny::deploy(&client, "hello", status).await.unwrap();
    }
    let at = async |path: &str| status(&caller.get(path).await);

    let set = server
        .run(&["alias", "set", "hello", "old", "v1"])
        .await
        .done();
    assert_eq!(set[0]["function"]["aliases"][0]["alias"], "old", "{set:?}");
    assert_eq!(at("/fn/hello@old/").await, "211");
    let request = caller.request("/").header("host", "old--hello.localhost");
    let by_host = request.body(usher_api::body::Body::Empty).unwrap();
    assert_eq!(status(&caller.whole(by_host).await), "211");
    assert_eq!(at("/fn/hello/").await, "213");

    let back = server.run(&["rollback", "hello"]).await.done();
    assert_eq!(back[0]["function"]["revision"]["number"], 2, "{back:?}");
    assert_eq!(at("/fn/hello/").await, "212");
    let to = server
        .run(&["rollback", "hello", "--to", "latest"])
        .await
        .done();
    assert_eq!(to[0]["function"]["revision"]["number"], 3, "{to:?}");

    let split = server
        .run(&["split", "hello", "v3=10", "v2=90"])
        .await
        .done();
    assert_eq!(
        split[0]["function"]["traffic"][0]["weight"], 90,
        "{split:?}"
    );
    let shown = server.run(&["show", "hello"]).await.done();
    let revisions = shown[0]["revisions"].as_array().unwrap();
    let weights: Vec<_> = revisions
        .iter()
        .map(|it| &it["traffic"][0]["weight"])
        .collect();
    assert_eq!(weights, [10, 90, 100], "{shown:?}");
    assert_eq!(revisions[2]["traffic"][0]["alias"], "old");
    let listed = server.run(&["alias", "list", "hello"]).await.done();
    let names: Vec<_> = listed
        .iter()
        .map(|it| it["alias"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["live", "old"]);
    server
        .run(&["alias", "delete", "hello", "old"])
        .await
        .done();
    assert_eq!(at("/fn/hello@old/").await, "404");

    for (words, label) in [
        (&["split", "hello", "v3=10", "v2=80"][..], "bad-split"),
        (&["rollback", "hello", "--to", "v9"], "no-such-revision"),
        (&["alias", "delete", "hello", "old"], "no-such-alias"),
        (&["alias", "delete", "hello", "live"], "live-stays"),
        (&["rollback", "nobody"], "no-such-function"),
    ] {
        let error = server.run(words).await.error();
        assert_eq!(error["label"], label, "{words:?}");
    }
}

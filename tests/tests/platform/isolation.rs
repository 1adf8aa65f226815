//! What separates one request from the next, by every way there is, and the control without it.

use std::collections::BTreeSet;

use usher_api::body::Body;

use crate::caller::{Answer, Caller};
use crate::folder::Folder;
use crate::server::Server;

/// Requests of one function, one after the other.
const REQUESTS: usize = 50;

/// A platform with one function under this manifest, and its answers to these requests.
async fn answers(component: &str, lines: &str, query: impl Fn(usize) -> String) -> Vec<Answer> {
    let (data, function) = (Folder::new(), Folder::function("it", component, lines));
    let server = Server::up(data.path()).await;
    server.run(&["deploy", function.text()]).await.done();
    let caller = Caller::new(server.gateway);
    let mut answers = Vec::with_capacity(REQUESTS);
    for nth in 0..REQUESTS {
        answers.push(caller.get(&format!("/fn/it/{}", query(nth))).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_of_renewal_counts_to_one() {
    for (lines, renewal, environments) in [
        ("renewal = \"live\"\n", "swap", 1),
        ("renewal = \"live\"\nrenew = \"before-run\"\n", "swap", 1),
        ("renewal = \"fresh\"\n", "fresh", REQUESTS),
    ] {
        let answers = answers("rust-counter", lines, |_| String::new()).await;
        for answer in &answers {
            assert_eq!(answer.text(), "1", "{lines}");
        }
        for answer in &answers[1..] {
            assert_eq!(answer.run().renewal, renewal, "{lines}");
        }
        let served = answers.iter().map(|answer| answer.run().environment);
        assert_eq!(served.collect::<BTreeSet<_>>().len(), environments);
        let areas = answers.windows(2);
        let stays = areas.filter(|pair| pair[0].run().area == pair[1].run().area);
        assert_eq!(stays.count(), 0, "{lines}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_isolation_it_grows() {
    let lines = "isolation = \"none\"\n[limits]\nconcurrency_max = 1\n";
    let answers = answers("rust-counter", lines, |_| String::new()).await;
    for (nth, answer) in (1..).zip(&answers) {
        assert_eq!(answer.text(), nth.to_string());
        assert_eq!(answer.run().environment, answers[0].run().environment);
        assert_eq!(answer.run().area, answers[0].run().area);
    }
    for answer in &answers[1..] {
        assert_eq!(answer.run().renewal, "kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_keeps_is_gone_in_the_next() {
    for component in ["rust-memo", "js-memo", "py-memo"] {
        let value = |nth| format!("value{nth}");
        let answers = answers(component, "", |nth| format!("?value={}", value(nth))).await;
        for (nth, answer) in answers.iter().enumerate() {
            assert_eq!(answer.text(), value(nth), "{component}");
        }
    }
    // The control: a memo is kept where nothing is renewed.
    let lines = "isolation = \"none\"\n[limits]\nconcurrency_max = 1\n";
    let kept = answers("rust-memo", lines, |nth| format!("?value={nth}")).await;
    assert!(kept.iter().all(|answer| answer.text() == "0"), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_of_the_same_code_share_no_environment() {
    let (data, function) = (Folder::new(), Folder::function("it", "rust-counter", ""));
    let server = Server::up(data.path()).await;
    let caller = Caller::new(server.gateway);
    for owner in ["ann", "bob"] {
        let deploy = ["deploy", function.text(), "--owner", owner];
        server.run(&deploy).await.done();
    }
    let mut environments = [BTreeSet::new(), BTreeSet::new()];
    for _ in 0..REQUESTS {
        for (owner, served_by) in ["ann", "bob"].iter().zip(&mut environments) {
            let request = caller
                .request("/")
                .header("host", format!("it.{owner}.localhost"));
            let answer = caller.whole(request.body(Body::Empty).unwrap()).await;
            assert_eq!(answer.text(), "1");
            served_by.insert(answer.run().environment);
        }
    }
    let [ann, bob] = environments;
    assert!(ann.is_disjoint(&bob), "{ann:?} {bob:?}");
    assert_eq!((ann.len(), bob.len()), (1, 1));
}

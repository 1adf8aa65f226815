//! Values that a program draws after put-backs.

use std::collections::BTreeSet;

use crate::guest::{Guest, PutBack, Values};
use crate::servers::server;

/// Put-backs of each program.
const ROUNDS: u64 = 5;

/// What a guest says after each put-back to one state, being told of it or not.
async fn rounds(mut guest: Guest, ask: impl AsyncFn(&Guest) -> Values, told: bool) -> Vec<Values> {
    assert!(guest.hook.declared().unwrap());
    // What it draws ahead at its first request it has when the state is taken.
    ask(&guest).await;
    if told {
        guest.hook.prepare().await.unwrap();
    }
    let mut tool = PutBack::of(&guest).await;
    let mut all = Vec::new();
    for round in 1..=ROUNDS {
        tool.put().await;
        if told {
            guest.hook.restored(round).await.unwrap();
        }
        all.push(ask(&guest).await);
    }
    all
}

/// The generators whose values were not all different.
fn repeated(all: &[Values]) -> BTreeSet<&str> {
    let names = all[0].keys();
    let distinct = |name: &str| {
        all.iter()
            .map(|values| &values[name])
            .collect::<BTreeSet<_>>()
    };
    let repeated = names.filter(|name| distinct(name).len() < all.len());
    repeated.map(String::as_str).collect()
}

async fn tried(file: &str, command: &[&str], stale: &[&str], wished: &[&str]) {
    let start = async || Guest::start(&[file], command, &[]).await.ready().await;
    let untold = rounds(start().await, Guest::values, false).await;
    let expected: BTreeSet<_> = stale.iter().chain(wished).copied().collect();
    assert_eq!(repeated(&untold), expected, "{untold:?}");
    let told = rounds(start().await, Guest::values, true).await;
    let expected: BTreeSet<_> = wished.iter().copied().collect();
    assert_eq!(repeated(&told), expected, "{told:?}");
}

#[tokio::test]
async fn python_repeats_nothing_when_it_is_told() {
    let command = ["/usr/bin/python3", "values.py"];
    let stale = [
        "random",
        "gauss",
        "ssl",
        "tempfile",
        "own",
        "time",
        "second",
        "nanosecond",
        "bytes",
        "process",
    ];
    // What the program has seeded with a number of its choice it gets again, as after a new start.
    let wished = ["number", "text", "state"];
    tried("values.py", &command, &stale, &wished).await;
}

#[tokio::test]
async fn node_repeats_nothing_when_it_is_told() {
    let command = ["/usr/bin/node", "values.cjs"];
    let stale = [
        "Math.random",
        "realm",
        "new-realm",
        "randomBytes",
        "getRandomValues",
        "randomUUID",
        "web-randomUUID",
        "randomInt",
        "key",
    ];
    tried("values.cjs", &command, &stale, &[]).await;
}

#[tokio::test]
async fn a_program_that_implements_the_hook_itself_repeats_nothing_when_it_is_told() {
    let ask = async |guest: &Guest| guest.fetched("random").await;
    let untold = rounds(server("http-c", &["./server"]).await, ask, false).await;
    assert_eq!(repeated(&untold), BTreeSet::from(["random"]), "{untold:?}");
    let told = rounds(server("http-c", &["./server"]).await, ask, true).await;
    assert_eq!(repeated(&told), BTreeSet::new(), "{told:?}");
}

//! Values that a program draws after put-backs.

use std::collections::BTreeSet;

use crate::guest::{Guest, PutBack, Values};

/// Put-backs of each program.
const ROUNDS: u64 = 5;

/// What a guest says after each put-back to one state, being told of it or not.
async fn rounds(files: &[&str], command: &[&str], told: bool) -> Vec<Values> {
    let mut guest = Guest::start(files, command, &[]).await.ready().await;
    assert!(guest.hook.declared().unwrap());
    // What it draws ahead at its first request it has when the state is taken.
    guest.values().await;
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
        all.push(guest.values().await);
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

async fn tried(files: &[&str], command: &[&str], stale: &[&str], wished: &[&str]) {
    let untold = rounds(files, command, false).await;
    let expected: BTreeSet<_> = stale.iter().chain(wished).copied().collect();
    assert_eq!(repeated(&untold), expected, "{untold:?}");
    let told = rounds(files, command, true).await;
    let expected: BTreeSet<_> = wished.iter().copied().collect();
    assert_eq!(repeated(&told), expected, "{told:?}");
}

#[tokio::test]
async fn python_repeats_nothing_when_it_is_told() {
    let stale = ["random", "own", "gauss", "timed", "ssl", "tempfile"];
    let command = ["/usr/bin/python3", "values.py"];
    // What the program has seeded with a number of its choice it gets again, as after a new start.
    tried(&["values.py"], &command, &stale, &["wished"]).await;
}

#[tokio::test]
async fn node_repeats_nothing_when_it_is_told() {
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
    let command = ["/usr/bin/node", "values.cjs"];
    tried(&["values.cjs"], &command, &stale, &[]).await;
}

//! Renewed runs begin in the same state, but never with the same random values.

use std::collections::HashSet;

use usher_core::function::Settings;

use crate::count;
use crate::guests::Bench;

/// More runs than this tell nothing new.
const RUNS_MAX: usize = 10_000;

/// The values in a reply: those of an object by name, or the one that a plain reply is.
fn values(reply: &str) -> Vec<(String, String)> {
    match serde_json::from_str::<serde_json::Map<_, _>>(reply) {
        Ok(object) => object
            .into_iter()
            .map(|(name, value)| (name, value.to_string()))
            .collect(),
        Err(_) => vec![("value".to_owned(), reply.trim().to_owned())],
    }
}

async fn never_repeats(name: &str) {
    let bench = Bench::new();
    let image = bench.load(name, Settings::default()).await;
    let mut environment = bench.start(&image).await;
    let mut seen = HashSet::new();
    for run in 0..count().min(RUNS_MAX) {
        let (reply, _, clean) = bench.visit(environment, "/").await;
        for value in values(&reply) {
            assert!(value.1.len() > 10, "{name}: {value:?} is no random value");
            let again = format!("{name}, run {run}: {value:?} once more");
            assert!(seen.insert(value), "{again}");
        }
        environment = clean;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rust_never_repeats_a_random_value() {
    never_repeats("rust-random").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn javascript_never_repeats_a_random_value() {
    never_repeats("js-random").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_never_repeats_a_random_value() {
    never_repeats("py-random").await;
}

/// Of the platform itself, of `getentropy`, and of `arc4random`, whose generator is seeded in the
/// run that first uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c_never_repeats_a_random_value() {
    never_repeats("c-random").await;
}

async fn repeats(name: &str, target: &str) {
    let bench = Bench::new();
    let image = bench.load(name, Settings::default()).await;
    let environment = bench.start(&image).await;
    let (first, _, environment) = bench.visit(environment, target).await;
    let (second, _, _) = bench.visit(environment, target).await;
    assert_eq!(first, second);
}

/// The negative control: what the standard library takes for a seed on this target is no random
/// value, and it is found to repeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_repeats() {
    repeats("rust-random", "/?hash=1").await;
}

/// A control again, and what C itself says: `rand` without `srand` is one series for all programs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unseeded_rand_repeats() {
    repeats("c-random", "/?rand=1").await;
}

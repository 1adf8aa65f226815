//! The host searches both areas for what was planted: places that no guest can address are seen
//! as well. Before the scrub it is still there, in the area left behind and nowhere else.

use usher_core::function::Settings;
use usher_core::proof::Renewal;
use usher_engine::Used;

use crate::count;
use crate::guests::Bench;
use crate::probe::{Marker, SCANNED, SEEKERS, Survived};

/// Requests of those that `USHER_COUNT` says for each one that is searched for: a search reads
/// every byte of both areas.
const REQUESTS_PER_SEARCH: usize = 50;
/// More searches than this tell nothing new.
const SEARCHES_MAX: usize = 200;

/// Plants, renews, searches; `told` judges each reply.
async fn nothing_stays(name: &str, told: impl Fn(&str)) {
    let bench = Bench::new();
    let image = bench.load(name, Settings::default()).await;
    let mut environment = bench.start(&image).await;
    let searches = count().div_ceil(REQUESTS_PER_SEARCH).min(SEARCHES_MAX);
    for run in 0..searches {
        let marker = Marker::random();
        let planted = marker.planted();
        assert_eq!(environment.count_marker(&planted), Some((0, 0)));
        let (reply, facts, used) = bench.run(environment, &marker.plant()).await;
        told(&reply);
        assert_eq!(
            run == 0,
            facts.renewal != Renewal::Swap,
            "{name}, run {run}"
        );
        let renewed = used.renew(false).await.unwrap();
        let (current, other) = renewed.clean.count_marker(&planted).unwrap();
        assert_eq!(current, 0, "{name}, run {run}");
        assert!(other > 0, "{name}, run {run}: nothing was planted");
        renewed.behind.unwrap().scrub();
        assert_eq!(renewed.clean.count_marker(&planted), Some((0, 0)), "{name}");
        renewed.clean.audit().unwrap();
        environment = renewed.clean;
    }
}

/// What interpreters find of their own accord: nothing, in any place of the language.
fn nothing_survived(reply: &str) {
    let told: Survived = serde_json::from_str(reply).unwrap();
    assert!(told.planted);
    assert!(told.survived.is_empty(), "{told:?}");
    assert_eq!(told.counter, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_compiled_guests_stays() {
    for name in SEEKERS {
        nothing_stays(name, |_| {}).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_javascript_stays() {
    nothing_stays(SCANNED[0], nothing_survived).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_python_stays() {
    nothing_stays(SCANNED[1], nothing_survived).await;
}

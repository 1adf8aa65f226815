//! Areas take turns, images are shared by nobody, code is made once, memories equal the image.

use std::sync::atomic::Ordering;

use std::sync::Arc;
use tokio::sync::mpsc;
use usher_core::function::Settings;
use usher_core::proof::Renewal;
use usher_engine::{Ended, Engine, Environment, Over, Used};

use crate::guests::{Bench, counter_of, example, revision};
use crate::{by_hand, count, renewed, serves};

const AUDITED_RUNS: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_is_made_once_and_areas_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::with_cache(folder.path().to_owned());
    let image = bench.load("rust-counter", Settings::default()).await;
    let mut environment = bench.start(&image).await;
    let id = environment.id();
    let (mut last, mut generations) = (None, std::collections::HashMap::new());
    for run in 0..count() {
        let (reply, facts, clean) = bench.visit(environment, "/").await;
        assert_eq!(counter_of(&reply), 1, "run {run}");
        assert_eq!((facts.environment, clean.id()), (id, id));
        let swapped = run > 0;
        assert_eq!(facts.renewal == Renewal::Swap, swapped, "run {run}");
        assert_ne!(last.replace(facts.area), Some(facts.area), "run {run}");
        let before = generations.insert(facts.area, facts.generation);
        assert!(before.is_none_or(|before| before < facts.generation));
        environment = clean;
    }
    assert_eq!(generations.len(), 2, "one environment has two areas");
    // Another environment of the image, and the image loaded once more, change nothing either.
    bench.start(&image).await;
    bench.load("rust-counter", Settings::default()).await;
    let counters = bench.engine.counters();
    assert_eq!(counters.compiled.load(Ordering::SeqCst), 1);
    assert_eq!(counters.loaded.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_owners_of_one_artifact_share_code_and_nothing_else() {
    let bench = Bench::new();
    let artifact = example("rust-counter");
    let mut served = Vec::new();
    for owner in ["ann", "bob"] {
        let revision = Arc::new(revision(owner, &artifact, Settings::default()));
        let id = revision.id;
        let (progress, _unheard) = mpsc::channel(1);
        let loaded = bench.engine.load(revision, artifact.clone(), progress);
        let image = loaded.await.unwrap();
        assert_eq!(bench.engine.report(&image).revision, id);
        let environment = bench.start(&image).await;
        let (reply, facts, clean) = bench.visit(environment, "/").await;
        assert_eq!(counter_of(&reply), 1);
        served.push((id, facts.environment, facts.area, clean, image));
    }
    let [(ann, ann_in, ann_area, ..), (bob, bob_in, bob_area, ..)] = &served[..] else {
        panic!("there are two owners");
    };
    assert_ne!(ann, bob);
    assert_ne!(ann_in, bob_in);
    assert_ne!(ann_area, bob_area);
    assert_eq!(bench.engine.counters().loaded.load(Ordering::SeqCst), 1);
}

async fn equals_its_image(name: &str) {
    let bench = Bench::new();
    let image = bench.load(name, Settings::default()).await;
    let mut environment = bench.start(&image).await;
    for run in 0..AUDITED_RUNS {
        let (reply, _, used) = bench.run(environment, "/").await;
        assert_eq!(counter_of(&reply), 1, "{name}");
        let renewed = used.renew(true).await;
        let renewed = renewed.unwrap_or_else(|error| panic!("{name}, run {run}: {error}"));
        renewed.behind.unwrap().scrub();
        renewed.clean.audit().unwrap();
        environment = renewed.clean;
    }
    // The negative control: one wrong byte is found.
    bench.engine.inject_spoiled_scrubs(true);
    let (_, _, environment) = bench.visit(environment, "/").await;
    let (_, _, used) = bench.run(environment, "/").await;
    assert!(used.renew(true).await.is_err(), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memories_equal_the_image_after_each_run() {
    for name in ["rust-counter", "js-counter", "py-counter"] {
        equals_its_image(name).await;
    }
}

/// Fails when an engine upgrade changes what growing by zero pages does: with guard pages as well
/// as with explicit checks, it has to read the base of the memory anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_by_zero_pages_reads_the_base() {
    let bench = Bench::new();
    let answers = |memory| by_hand::guest(memory, &by_hand::Parts::default(), by_hand::ANSWER);
    let grows = "(drop (memory.grow (i32.const 0))) (call $answer (local.get 0) (local.get 1))";
    let grows = by_hand::guest("1 1", &by_hand::Parts::default(), grows);
    for (kind, artifact) in [("guarded", answers("1 1")), ("headroom", grows)] {
        let image = bench.try_load(artifact, Settings::default()).await.unwrap();
        let mut environment = bench.start(&image).await;
        for run in 0..4 {
            let (facts, used) = serves(&bench, environment).await;
            assert_eq!(facts.renewal == Renewal::Swap, run > 0, "{kind}");
            environment = renewed(used).await;
        }
        let (_, used) = serves(&bench, environment).await;
        bench.engine.inject_skipped_swaps(true);
        let environment = used.renew(false).await.unwrap().clean;
        bench.engine.inject_skipped_swaps(false);
        let run = environment.run(bench.call("/")).await;
        let quarantined = matches!(run.over, Over::Now(Err(Ended::Quarantined { .. })));
        assert!(quarantined, "{kind}");
    }
}

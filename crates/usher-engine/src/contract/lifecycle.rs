//! Cases: artifact to image to environment, each step done once.

use std::sync::Arc;

use tokio::sync::mpsc;
use usher_core::fault::Blame;

use super::{ContractHarness, finish, function, get, load, renew, revision, start};
use crate::environment::Engine;

/// Starts, runs and renewals compile and load nothing.
pub async fn compiled_and_loaded_once<H: ContractHarness>(harness: &H) {
    let (compiled, loaded) = (harness.compiled(), harness.loaded());
    let image = load(harness, "hello", |_| {}).await;
    for _ in 0..2 {
        let mut environment = start(harness, &image).await;
        for _ in 0..5 {
            let run = finish(environment, get("http://hello.test/")).await;
            environment = renew(run.left).await;
        }
    }
    assert!(harness.compiled() <= compiled + 1);
    assert_eq!(harness.loaded(), loaded + 1);
}

/// Bytes that are no artifact are refused, and the blame is theirs.
pub async fn a_damaged_artifact_is_refused<H: ContractHarness>(harness: &H) {
    let whole = harness.artifact("hello");
    for damaged in [whole.slice(..whole.len() / 2), bytes::Bytes::new()] {
        let revision = revision(function("damaged"), &damaged, harness.settings());
        let (progress, _) = mpsc::channel(1);
        let loading = harness.engine().load(Arc::new(revision), damaged, progress);
        let error = loading.await.err().expect("a damaged artifact is refused");
        assert_eq!(error.0.blame, Blame::Function);
        assert!(!error.0.message.is_empty());
    }
}

/// Nothing of an environment outlives it.
pub async fn dropping_ends_environments<H: ContractHarness>(harness: &H) {
    let image = load(harness, "hello", |_| {}).await;
    let alive = harness.alive();
    let clean = start(harness, &image).await;
    let run = finish(start(harness, &image).await, get("http://hello.test/")).await;
    assert_eq!(harness.alive(), alive + 2);
    drop(clean);
    drop(run.left);
    assert_eq!(harness.alive(), alive);
}

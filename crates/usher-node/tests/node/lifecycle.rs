//! Revisions come and go, and the node with them.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use usher_api::node::NodeControl;
use usher_core::fault::{Blame, Fault};
use usher_core::id::FunctionKey;
use usher_engine::contract::{function, get};

use crate::World;

#[tokio::test]
async fn giving_up_a_revision_waits_for_its_requests() {
    let world = World::new();
    let revision = world.revision("slow", |_| {});
    let running = world.begin(&revision);
    world.engine.gates().run.arrived(1).await;
    let node = world.node.clone();
    let id = revision.id;
    let retiring = tokio::spawn(async move { node.retire(id).await });
    world.until(|world| world.node.image(id).is_none()).await;
    assert!(!retiring.is_finished());
    world.engine.gates().run.open();
    assert!(running.await.unwrap().is_ok());
    retiring.await.unwrap();
    assert_eq!(world.alive(), 0);
    // What it counted stays with the function.
    assert_eq!(world.totals(&revision).requests["ok"], 1);
}

#[tokio::test]
async fn a_request_that_comes_late_is_served_and_leaves_nothing() {
    let world = World::new();
    let revision = world.revision("hello", |_| {});
    world.prepare(&revision).await.unwrap();
    world.node.retire(revision.id).await;
    assert!(world.call(&revision).await.is_ok());
    assert_eq!(world.quiet(&revision).await.clean, 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(302)).await;
    world
        .until(|world| world.status(&revision).clean == 0)
        .await;
    tokio::time::advance(Duration::from_secs(302)).await;
    world
        .until(|world| world.node.image(revision.id).is_none())
        .await;
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn draining_finishes_what_runs_and_takes_nothing_new() {
    let world = World::new();
    let (slow, stream) = (
        world.revision("slow", |_| {}),
        world.revision("stream", |_| {}),
    );
    let running = world.begin(&slow);
    let reply = world
        .reply(&stream, get("http://stream.test/"))
        .await
        .unwrap();
    world.engine.gates().run.arrived(1).await;
    let node = world.node.clone();
    let draining = tokio::spawn(async move { node.drain().await });
    while world.call(&slow_ready(&world)).await != Err(Fault::Draining) {
        tokio::task::yield_now().await;
    }
    assert!(!draining.is_finished());
    world.engine.gates().run.open();
    assert!(running.await.unwrap().is_ok());
    let body = reply.response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "first\nsecond\n");
    draining.await.unwrap();
    assert_eq!(world.alive(), 0);
    assert_eq!(world.call(&slow).await.unwrap_err(), Fault::Draining);
    // A second time there is nothing left to wait for.
    world.node.drain().await;
}

/// Some revision that answers at once.
fn slow_ready(world: &World) -> Arc<usher_core::function::Revision> {
    world.revision("hello", |_| {})
}

#[tokio::test]
async fn two_owners_with_one_artifact_share_nothing() {
    let world = World::new();
    let of = |owner: &str| FunctionKey {
        owner: owner.parse().unwrap(),
        name: "counter".parse().unwrap(),
    };
    let ann = world.revision_of(of("ann"), "counter", |_| {});
    let bob = world.revision_of(of("bob"), "counter", |_| {});
    assert_eq!(ann.artifact, bob.artifact);
    let mut environments = Vec::new();
    for revision in [&ann, &bob, &ann, &bob] {
        let (text, proof) = world.call(revision).await.unwrap();
        assert_eq!(text, "1");
        environments.push(proof.environment);
        world.quiet(revision).await;
    }
    assert_eq!(environments[0], environments[2]);
    assert_eq!(environments[1], environments[3]);
    assert_ne!(environments[0], environments[1]);
}

/// Whoever could make a revision with somebody else's id would still not get their environment.
#[tokio::test]
async fn a_revision_is_more_than_its_id() {
    let world = World::new();
    let revision = world.revision("hello", |_| {});
    world.call(&revision).await.unwrap();
    let mut forged = (*revision).clone();
    forged.function.owner = "eve".parse().unwrap();
    assert_eq!(
        world.call(&Arc::new(forged)).await.unwrap_err(),
        Fault::Unavailable
    );
    let mut forged = (*revision).clone();
    forged.artifact.0[0] ^= 1;
    assert_eq!(
        world.call(&Arc::new(forged)).await.unwrap_err(),
        Fault::Unavailable
    );
    // The same revision in another object is the same.
    assert!(world.call(&Arc::new((*revision).clone())).await.is_ok());
}

#[tokio::test]
async fn a_new_revision_never_lands_on_an_old_environment() {
    let world = World::new();
    let key = || function("changing");
    let old = world.revision_of(key(), "hello", |_| {});
    let new = world.revision_of(key(), "counter", |_| {});
    let (text, proof) = world.call(&old).await.unwrap();
    assert_eq!(text, "hello\n");
    let (text, other) = world.call(&new).await.unwrap();
    assert_eq!(text, "1");
    assert_ne!(proof.environment, other.environment);
    let snapshot = world.node.snapshot();
    assert_eq!(snapshot.functions[&key()].totals.requests["ok"], 2);
}

#[tokio::test]
async fn artifacts_that_are_missing_changed_or_wrong_are_told_apart() {
    let world = World::new();
    let missing = world.revision("hello", |_| {});
    world.shelf.artifacts.lock().clear();
    assert_eq!(world.call(&missing).await.unwrap_err(), Fault::Unavailable);
    // It is remembered for a while, so that a load is not tried for every request.
    assert_eq!(world.call(&missing).await.unwrap_err(), Fault::Unavailable);
    assert_eq!(world.shelf.fetched.load(SeqCst), 1);
    let fault = world.prepare(&missing).await.unwrap_err();
    assert_eq!(fault.blame, Blame::Platform);

    let changed = world.revision("counter", |_| {});
    let other = Bytes::from_static(b"fake:hello");
    world.shelf.artifacts.lock().insert(changed.artifact, other);
    assert_eq!(world.call(&changed).await.unwrap_err(), Fault::Unavailable);

    let wrong = world.revision("nobody", |_| {});
    let fault = world.prepare(&wrong).await.unwrap_err();
    assert_eq!(fault.blame, Blame::Function);
    assert_eq!(world.call(&wrong).await.unwrap_err(), Fault::StartFailed);

    // Putting it there and deploying again heals it at once.
    world.revision("hello", |_| {});
    assert!(world.prepare(&missing).await.is_ok());
    assert!(world.call(&missing).await.is_ok());
}

#[tokio::test]
async fn a_deployment_that_cannot_start_says_so() {
    let world = World::new();
    let revision = world.revision("hello", |_| {});
    world.engine.trouble().fail_start.store(true, SeqCst);
    let fault = world.prepare(&revision).await.unwrap_err();
    assert_eq!(fault.blame, Blame::Function);
    assert!(
        fault.message.contains("could not be started"),
        "{}",
        fault.message
    );
}

#[tokio::test]
async fn concurrent_deployments_join_one_load() {
    let world = World::new();
    let revision = world.revision("hello", |_| {});
    let (one, other, served) = tokio::join!(
        world.prepare(&revision),
        world.prepare(&revision),
        world.call(&revision)
    );
    assert!(one.is_ok() && other.is_ok() && served.is_ok());
    let status = world.quiet(&revision).await;
    assert_eq!((status.loaded, status.compiled), (1, 1));
    assert_eq!(world.node.image(revision.id).unwrap().revision, revision.id);
}

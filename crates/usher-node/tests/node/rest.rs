//! Images that nobody uses are given up, and nobody notices but by the time that it takes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use usher_api::node::NodeControl;
use usher_core::function::{Isolation, Revision, Settings};
use usher_engine::contract::function;
use usher_node::NodeOptions;

use crate::World;

/// Lets so much time pass, and the node's own work be done.
async fn pass(world: &World, revision: &Arc<Revision>, seconds: u64) {
    world.quiet(revision).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
}

async fn loaded_after(adapt: impl FnOnce(&mut Settings), seconds: u64) -> u64 {
    let world = World::new();
    let revision = world.revision("counter", adapt);
    let report = world.prepare(&revision).await.unwrap();
    assert_eq!(world.call(&revision).await.unwrap().0, "1");
    pass(&world, &revision, seconds).await;
    assert_eq!(
        world.node.image(revision.id),
        Some(report),
        "it is still told of"
    );
    world.call(&revision).await.unwrap();
    let status = world.quiet(&revision).await;
    assert_eq!(status.served, 2, "what was counted stays");
    status.loaded
}

#[tokio::test]
async fn what_was_deployed_and_is_not_used_is_loaded_again() {
    assert_eq!(loaded_after(|_| {}, 302).await, 2);
    // The controls: too short a time, and what is to be ready.
    assert_eq!(loaded_after(|_| {}, 2).await, 1);
    assert_eq!(loaded_after(|it| it.keep.ready_min = 1, 302).await, 1);
}

#[tokio::test]
async fn beyond_the_bound_the_least_recently_used_goes() {
    let images_max = NonZeroUsize::new(2).unwrap();
    let world = World::with(NodeOptions {
        images_max,
        ..NodeOptions::default()
    });
    let revisions: Vec<_> = (0..4)
        .map(|nth| {
            let keep = |it: &mut Settings| {
                if nth == 3 {
                    it.isolation = Isolation::None;
                }
            };
            world.revision_of(function(&format!("f{nth}")), "counter", keep)
        })
        .collect();
    for revision in revisions.iter().rev() {
        world.prepare(revision).await.unwrap();
        world.call(revision).await.unwrap();
        pass(&world, revision, 2).await;
    }
    let mut loaded = Vec::new();
    for revision in &revisions {
        world.call(revision).await.unwrap();
        loaded.push(world.quiet(revision).await.loaded);
    }
    // The state of the last one is kept, and it is not given up for the others.
    assert_eq!(loaded, [1, 2, 2, 1]);
}

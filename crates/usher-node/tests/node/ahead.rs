//! Environments that are started before traffic moves to their revision.

use std::sync::atomic::Ordering::SeqCst;

use usher_api::node::NodeControl;

use crate::World;

#[tokio::test]
async fn so_many_environments_stand_ready_as_were_asked_for() {
    let world = World::new();
    let revision = world.revision("hello", |settings| settings.limits.concurrency_max = 5);
    // One that is not prepared has nothing started.
    world.node.start_ahead(revision.id, 3).await;
    assert_eq!(world.alive(), 0);
    world.prepare(&revision).await.unwrap();
    for (wanted, clean) in [(3, 3), (2, 3), (9, 5)] {
        world.node.start_ahead(revision.id, wanted).await;
        let status = world.status(&revision);
        assert_eq!((status.clean, status.starting), (clean, 0), "{wanted}");
    }
}

#[tokio::test]
async fn it_waits_for_starts_and_not_for_requests() {
    let world = World::new();
    let slow = world.revision("slow", |settings| settings.limits.concurrency_max = 2);
    world.prepare(&slow).await.unwrap();
    let running = world.begin(&slow);
    world.engine.gates().run.arrived(1).await;
    world.engine.gates().start.hold();
    let (node, id) = (world.node.clone(), slow.id);
    let ahead = tokio::spawn(async move { node.start_ahead(id, 2).await });
    world.engine.gates().start.arrived(1).await;
    assert!(!ahead.is_finished());
    world.engine.gates().start.open();
    ahead.await.unwrap();
    let status = world.status(&slow);
    assert_eq!(
        (status.clean, status.busy),
        (1, 1),
        "the request still runs"
    );
    world.engine.gates().run.open();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_start_that_fails_ends_the_wait() {
    let world = World::new();
    let revision = world.revision("hello", |_| {});
    world.prepare(&revision).await.unwrap();
    world.engine.trouble().fail_start.store(true, SeqCst);
    world.node.start_ahead(revision.id, 4).await;
    assert_eq!(world.status(&revision).clean, 1);
    assert!(world.call(&revision).await.is_ok(), "it goes on serving");
}

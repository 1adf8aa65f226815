//! Twins: one serves while the other is renewed, where that pays and there is room.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use usher_core::function::{Isolation, RenewWhen, Revision, Settings, Twins};
use usher_core::keep::twin::{Host, RETRY_AFTER_MS, WAITS_MIN};
use usher_core::proof::{Proof, Renewal, Start};
use usher_node::{HostSource, NodeOptions};

use crate::World;

/// A little more than the time between two looks.
const ROUND: Duration = Duration::from_millis(1_010);
const TICK: Duration = Duration::from_millis(1);

const FREE: Host = Host {
    processors_millis: 4_000,
    idle_millis: Some(3_000),
    memory_mib: 8_000,
    memory_free_mib: 4_000,
};

const BUSY: Host = Host {
    processors_millis: 4_000,
    idle_millis: Some(0),
    memory_mib: 8_000,
    memory_free_mib: 4_000,
};

fn on(host: Host) -> World {
    World::with(NodeOptions {
        host: HostSource::Given(host),
        ..NodeOptions::default()
    })
}

/// A revision whose first request was served, with its environment held in its renewal.
async fn held(world: &World, adapt: impl FnOnce(&mut Settings)) -> (Arc<Revision>, Proof) {
    world.engine.gates().renew.hold();
    let revision = world.revision("counter", adapt);
    let (_, proof) = world.call(&revision).await.unwrap();
    assert_eq!(proof.start, Start::Cold);
    (revision, proof)
}

/// A request that waits for a renewal, for one tick.
async fn waits(world: &World, revision: &Arc<Revision>) -> Proof {
    let call = world.begin(revision);
    world
        .until(|world| world.status(revision).waiting == 1)
        .await;
    tokio::time::advance(TICK).await;
    world.engine.gates().renew.let_through(1);
    let (text, proof) = call.await.unwrap().unwrap();
    assert_eq!((text.as_str(), proof.start), ("1", Start::Warm));
    proof
}

/// A request that waits for nothing.
async fn goes_on(world: &World, revision: &Arc<Revision>) -> Proof {
    let before = world.totals(revision).renewal_waits;
    let (text, proof) = world.call(revision).await.unwrap();
    assert_eq!((text.as_str(), proof.start), ("1", Start::Warm));
    assert_eq!(world.totals(revision).renewal_waits, before);
    proof
}

/// Lets one renewal end, with so many environments clean then.
async fn renewed(world: &World, revision: &Arc<Revision>, clean: u32) {
    world.engine.gates().renew.let_through(1);
    world
        .until(|world| world.status(revision).clean == clean)
        .await;
}

/// Passes one round, in which it is judged.
async fn round(world: &World, revision: &Arc<Revision>) {
    tokio::time::advance(ROUND).await;
    // The task that judges gets its turn, and what it has begun ends.
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
    world
        .until(|world| world.status(revision).starting == 0)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_sequential_client_is_served_in_turn_by_twins_once_it_has_waited() {
    let world = on(FREE);
    let (revision, first) = held(&world, |_| {}).await;
    for _ in 0..WAITS_MIN {
        let proof = waits(&world, &revision).await;
        assert_eq!(proof.environment, first.environment);
    }
    let totals = world.totals(&revision);
    assert_eq!((totals.renewal_waits, totals.twins_started), (WAITS_MIN, 0));
    assert_eq!(totals.renewal_wait_us, 1_000 * WAITS_MIN);
    assert_eq!(world.status(&revision).twins, 0);

    round(&world, &revision).await;
    let status = world.status(&revision);
    assert_eq!((status.clean, status.renewing, status.twins), (1, 1, 1));
    assert!(
        status.twins_because.contains("µs for renewals"),
        "{status:?}"
    );

    let twin = goes_on(&world, &revision).await;
    assert_ne!(twin.environment, first.environment);
    assert_eq!((twin.renewal, twin.renew_us), (Renewal::Fresh, 0));
    let mut last = twin;
    for _ in 0..10 {
        // The one that served before is clean, and serves while the last one is renewed.
        renewed(&world, &revision, 1).await;
        let proof = goes_on(&world, &revision).await;
        assert_eq!(proof.renewal, Renewal::Swap);
        assert_ne!(proof.environment, last.environment, "they take turns");
        last = proof;
    }
    let totals = world.totals(&revision);
    assert_eq!((totals.renewal_waits_spared, totals.started), (11, 2));
    assert_eq!(totals.twins_started, 1);
    let standing = world.node.snapshot().functions[&revision.function].standing;
    assert_eq!(standing.twins, 1);
}

/// The controls: without twins, or where one of what they need is missing, it is the same
/// environment each time.
#[tokio::test(start_paused = true)]
async fn without_twins_it_is_the_same_environment_each_time() {
    type Adapt = fn(&mut Settings);
    let cases: [(Host, Adapt, &str); 4] = [
        (FREE, |it| it.keep.twins = Twins::Off, "\"off\""),
        (BUSY, |_| {}, "busy"),
        (FREE, |it| it.limits.concurrency_max = 1, "concurrency_max"),
        (FREE, |it| it.limits.memory_max_mib = 4_000, "memory"),
    ];
    for (host, adapt, said) in cases {
        let world = on(host);
        let (revision, first) = held(&world, adapt).await;
        for _ in 0..3 * WAITS_MIN {
            let proof = waits(&world, &revision).await;
            assert_eq!(proof.environment, first.environment);
            round(&world, &revision).await;
        }
        let status = world.status(&revision);
        assert_eq!((status.started, status.twins), (1, 0), "{said}");
        assert!(status.twins_because.contains(said), "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn always_asks_for_one_wait_only() {
    let world = on(BUSY);
    let (revision, first) = held(&world, |it| it.keep.twins = Twins::Always).await;
    round(&world, &revision).await;
    assert_eq!(world.status(&revision).started, 1, "nobody has waited");
    waits(&world, &revision).await;
    round(&world, &revision).await;
    let twin = goes_on(&world, &revision).await;
    assert_ne!(twin.environment, first.environment);
    let status = world.status(&revision);
    assert!(status.twins_because.contains("\"always\""), "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn there_is_one_twin_for_each_request_at_once_and_no_more() {
    let world = on(FREE);
    let (revision, _) = held(&world, |it| it.keep.twins = Twins::Always).await;
    waits(&world, &revision).await;
    round(&world, &revision).await;
    goes_on(&world, &revision).await;
    for _ in 0..5 {
        waits(&world, &revision).await;
        round(&world, &revision).await;
        let status = world.status(&revision);
        assert_eq!((status.started, status.twins), (2, 1));
        assert!(status.twins_because.contains("has one"), "{status:?}");
    }
}

/// What is free is measured once a round, and given to one function only.
#[tokio::test(start_paused = true)]
async fn in_one_round_one_twin_is_started_whoever_needs_one() {
    let world = on(FREE);
    let always = |it: &mut Settings| it.keep.twins = Twins::Always;
    let (one, _) = held(&world, always).await;
    waits(&world, &one).await;
    // Its last renewal is held, and the other one's are let through beside it.
    let (other, _) = held(&world, |it| {
        always(it);
        it.hide_proof = true;
    })
    .await;
    let call = world.begin(&other);
    world.until(|world| world.status(&other).waiting == 1).await;
    tokio::time::advance(TICK).await;
    world.engine.gates().renew.let_through(2);
    call.await.unwrap().unwrap();
    let started = || world.status(&one).started + world.status(&other).started;
    assert_eq!(started(), 2);
    round(&world, &one).await;
    assert_eq!(started(), 3);
    round(&world, &other).await;
    assert_eq!(started(), 4);
}

/// Where state is kept, or nothing is renewed before it is claimed, there is nothing to spare.
#[tokio::test(start_paused = true)]
async fn where_nothing_is_renewed_between_requests_there_are_none() {
    let cases: [fn(&mut Settings); 2] = [
        |it| it.isolation = Isolation::None,
        |it| it.renew = RenewWhen::BeforeRun,
    ];
    for adapt in cases {
        let world = on(FREE);
        let revision = world.revision("counter", |settings| {
            settings.keep.twins = Twins::Always;
            adapt(settings);
        });
        for _ in 0..2 * WAITS_MIN {
            world.call(&revision).await.unwrap();
            round(&world, &revision).await;
        }
        let status = world.status(&revision);
        assert_eq!((status.started, status.twins), (1, 0));
        assert!(status.twins_because.contains("nothing is renewed"));
    }
    let world = on(FREE);
    let by_key = Isolation::Key("header:x-tenant".parse().unwrap());
    let revision = world.revision("counter", |it| it.isolation = by_key);
    world.prepare(&revision).await.unwrap();
    round(&world, &revision).await;
    let status = world.status(&revision);
    assert_eq!((status.started, status.twins), (1, 0));
    assert_eq!(status.twins_because, "", "it is not even judged");
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_is_not_needed_any_more_is_ended_and_all_are_without_requests() {
    let world = on(FREE);
    let (revision, _) = held(&world, |it| {
        it.keep.twins = Twins::Always;
        it.keep.idle_max_s = 100;
    })
    .await;
    waits(&world, &revision).await;
    round(&world, &revision).await;
    world.engine.gates().renew.open();
    world
        .until(|world| world.status(&revision).clean == 2)
        .await;
    // Renewals are quick now: the one used last serves again and again.
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(goes_on(&world, &revision).await.environment);
        world.quiet(&revision).await;
        tokio::time::advance(Duration::from_secs(25)).await;
    }
    served.dedup();
    assert_eq!(served.len(), 1);
    world.until(|world| world.alive() == 1).await;
    assert_eq!(world.status(&revision).twins, 0);
    tokio::time::advance(Duration::from_secs(102)).await;
    world.until(|world| world.alive() == 0).await;
    assert_eq!(world.totals(&revision).twins_started, 1);
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_does_not_start_costs_no_request_and_is_not_tried_at_once_again() {
    let world = on(FREE);
    let (revision, first) = held(&world, |it| it.keep.twins = Twins::Always).await;
    world.engine.trouble().fail_start.store(true, SeqCst);
    for _ in 0..5 {
        let proof = waits(&world, &revision).await;
        assert_eq!(proof.environment, first.environment);
        round(&world, &revision).await;
    }
    let totals = world.totals(&revision);
    assert_eq!((totals.twins_started, totals.starts_failed), (1, 1));
    assert!(
        world
            .status(&revision)
            .twins_because
            .contains("failed lately")
    );
    world.engine.trouble().fail_start.store(false, SeqCst);
    tokio::time::advance(Duration::from_millis(RETRY_AFTER_MS)).await;
    waits(&world, &revision).await;
    round(&world, &revision).await;
    assert_eq!(world.status(&revision).twins, 1);
}

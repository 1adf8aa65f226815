//! After a run: renewed, audited, kept, replaced, quarantined.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use usher_api::node::{Mode, NodeControl};
use usher_core::fault::Fault;
use usher_core::function::{Isolation, RenewWhen, Settings};
use usher_core::proof::{Renewal, Start};
use usher_engine::contract;
use usher_node::NodeOptions;

use crate::World;

fn one(settings: &mut Settings) {
    settings.limits.concurrency_max = 1;
}

fn audited() -> World {
    World::with(NodeOptions {
        audit_one_in: 1,
        ..NodeOptions::default()
    })
}

#[tokio::test]
async fn consecutive_runs_have_the_same_environment_and_different_areas() {
    let world = audited();
    for renew in [RenewWhen::AfterRun, RenewWhen::BeforeRun] {
        let revision = world.revision("counter", |settings| {
            one(settings);
            settings.renew = renew;
        });
        let (text, mut last) = world.call(&revision).await.unwrap();
        assert_eq!((text.as_str(), last.start), ("1", Start::Cold));
        for _ in 0..10 {
            let (text, proof) = world.call(&revision).await.unwrap();
            assert_eq!((text.as_str(), proof.renewal), ("1", Renewal::Swap));
            assert_eq!(proof.start, Start::Warm);
            assert_eq!(proof.environment, last.environment);
            assert_ne!(proof.area, last.area);
            last = proof;
        }
        let status = world.quiet(&revision).await;
        assert_eq!(
            (status.started, status.compiled + status.loaded <= 2),
            (1, true)
        );
    }
}

#[tokio::test]
async fn lazy_renewal_happens_on_the_next_claim_and_scrubs_behind_the_run() {
    let world = audited();
    let revision = world.revision("counter", |settings| {
        one(settings);
        settings.renew = RenewWhen::BeforeRun;
    });
    world.call(&revision).await.unwrap();
    world.quiet(&revision).await;
    assert_eq!(world.status(&revision).audits, 0);
    world.call(&revision).await.unwrap();
    assert_eq!(world.status(&revision).audits, 1);
    world
        .until(|world| world.engine.counts().scrubbed.load(SeqCst) == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_used_environment_that_stays_is_renewed_when_it_was_idle_for_long() {
    let world = audited();
    let revision = world.revision("counter", |settings| {
        one(settings);
        settings.renew = RenewWhen::BeforeRun;
        settings.keep.ready_min = 1;
        settings.keep.idle_max_s = 60;
    });
    world.call(&revision).await.unwrap();
    tokio::time::advance(Duration::from_secs(62)).await;
    world
        .until(|world| world.engine.counts().scrubbed.load(SeqCst) == 1)
        .await;
    let status = world.quiet(&revision).await;
    assert_eq!((status.clean, status.audits, status.started), (1, 1, 1));
    let (text, proof) = world.call(&revision).await.unwrap();
    assert_eq!((text.as_str(), proof.renewal), ("1", Renewal::Swap));
    assert_eq!(world.status(&revision).audits, 1);
}

#[tokio::test]
async fn kept_state_stays_and_is_said_to() {
    let world = World::new();
    let revision = world.revision("counter", |settings| {
        one(settings);
        settings.isolation = Isolation::None;
    });
    assert_eq!(world.prepare(&revision).await.unwrap().mode, Mode::Kept);
    for count in 1..5 {
        let (text, proof) = world.call(&revision).await.unwrap();
        assert_eq!(text, count.to_string());
        assert_eq!(proof.renewal == Renewal::Kept, count > 1);
    }
    assert_eq!(world.engine.counts().scrubbed.load(SeqCst), 0);
}

#[tokio::test]
async fn a_pointer_that_did_not_move_refuses_the_run() {
    let world = World::new();
    let revision = world.revision("counter", one);
    world.engine.trouble().skip_swap.store(true, SeqCst);
    world.call(&revision).await.unwrap();
    world.quiet(&revision).await;
    let refused = world
        .reply(&revision, contract::get("http://f.test/"))
        .await;
    // Nothing is known of the area, so nothing is said of it.
    assert_eq!(refused.unwrap_err(), Fault::Unavailable.into());
    world.engine.trouble().skip_swap.store(false, SeqCst);
    let status = world.status(&revision);
    assert_eq!(
        (status.quarantined, status.served, world.alive()),
        (1, 1, 0)
    );
    // The mechanism noticed it, so it is trusted further.
    world.call(&revision).await.unwrap();
    let (text, proof) = world.call(&revision).await.unwrap();
    assert_eq!((text.as_str(), proof.renewal), ("1", Renewal::Swap));
}

#[tokio::test]
async fn a_failed_audit_turns_live_renewal_off_until_the_next_deployment() {
    let world = audited();
    let revision = world.revision("counter", |_| {});
    assert_eq!(world.prepare(&revision).await.unwrap().mode, Mode::Live);
    world.call(&revision).await.unwrap();
    world.quiet(&revision).await;
    world.engine.trouble().spoil_renewal.store(true, SeqCst);
    world.call(&revision).await.unwrap();
    let status = world.quiet(&revision).await;
    world.engine.trouble().spoil_renewal.store(false, SeqCst);
    assert_eq!((status.audits_failed, status.quarantined), (1, 1));

    let report = world.node.image(revision.id).unwrap();
    assert_eq!(report.mode, Mode::Fresh);
    assert!(!report.reasons.is_empty());
    for _ in 0..3 {
        let (text, proof) = world.call(&revision).await.unwrap();
        assert_eq!((text.as_str(), proof.renewal), ("1", Renewal::Fresh));
        world.quiet(&revision).await;
    }
    // Given up and loaded again by a late request, it is no better.
    world.node.retire(revision.id).await;
    world.call(&revision).await.unwrap();
    world.quiet(&revision).await;
    assert_eq!(
        world.call(&revision).await.unwrap().1.renewal,
        Renewal::Fresh
    );
    // Neither by making it ready once more; only by deploying it.
    assert_eq!(world.prepare(&revision).await.unwrap().mode, Mode::Fresh);

    let mut again = (*revision).clone();
    again.number += 1;
    let again = std::sync::Arc::new(again);
    assert_eq!(world.prepare(&again).await.unwrap().mode, Mode::Live);
    world.call(&again).await.unwrap();
    world.quiet(&again).await;
    assert_eq!(world.call(&again).await.unwrap().1.renewal, Renewal::Swap);
}

/// What was renewed before an audit failed is not used any more, also where it stands idle.
#[tokio::test]
async fn a_failed_audit_ends_the_idle_environments_too() {
    let world = audited();
    let revision = world.revision("slow", |settings| settings.limits.concurrency_max = 4);
    let calls = (0..4).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    world.engine.gates().run.arrived(4).await;
    world.engine.gates().run.let_through(3);
    world
        .until(|world| world.status(&revision).clean == 3)
        .await;
    world.engine.trouble().spoil_renewal.store(true, SeqCst);
    world.engine.gates().run.open();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    world
        .until(|world| world.status(&revision).audits_failed == 1)
        .await;
    let status = world.quiet(&revision).await;
    // Only the successor is there.
    assert_eq!((status.clean, world.alive()), (1, 1));
}

/// The negative control: without audits the wrong byte is served.
#[tokio::test]
async fn without_audits_a_wrong_byte_goes_unnoticed() {
    let world = World::with(NodeOptions {
        audit_one_in: 0,
        ..NodeOptions::default()
    });
    let revision = world.revision("counter", |_| {});
    world.engine.trouble().spoil_renewal.store(true, SeqCst);
    for _ in 0..5 {
        world.call(&revision).await.unwrap();
        world.quiet(&revision).await;
    }
    assert_eq!(world.status(&revision).quarantined, 0);
}

#[tokio::test]
async fn what_cannot_be_put_back_is_replaced_before_it_is_needed() {
    let world = World::new();
    let revision = world.revision("counter", one);
    world.engine.trouble().leftover.store(true, SeqCst);
    let mut environments = Vec::new();
    for at in 0..4 {
        let (text, proof) = world.call(&revision).await.unwrap();
        assert_eq!(text, "1");
        assert_eq!(proof.start == Start::Warm, at > 0);
        environments.push(proof.environment);
        world
            .until(|world| world.status(&revision).clean == 1)
            .await;
    }
    environments.dedup();
    assert_eq!(environments.len(), 4);
    assert_eq!(world.totals(&revision).leftovers, 4);
    assert_eq!(world.alive(), 1);
}

//! Who gets an environment, who waits, who is sent away.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use usher_core::fault::Fault;
use usher_core::function::{Isolation, Settings};
use usher_core::proof::Start;
use usher_engine::fake::{Answer, COUNTER_AT, Guest};

use crate::World;

fn one(settings: &mut Settings) {
    settings.limits.concurrency_max = 1;
}

/// Answers with a counter in its area, and notes how many run at once.
fn watched(highest: Arc<AtomicUsize>) -> Guest {
    let now = Arc::new(AtomicUsize::new(0));
    Arc::new(move |visit| {
        let (now, highest) = (now.clone(), highest.clone());
        Box::pin(async move {
            highest.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::task::yield_now().await;
            let count = visit.memory.read(COUNTER_AT) + 1;
            visit.memory.write(COUNTER_AT, &[count]);
            now.fetch_sub(1, SeqCst);
            Ok(Answer::text(count.to_string()))
        })
    })
}

#[tokio::test]
async fn concurrent_misses_join_one_load_and_one_start() {
    let world = World::new();
    let revision = world.revision("hello", one);
    world.engine.gates().load.hold();
    world.engine.gates().start.hold();
    let calls = (0..10).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    world.engine.gates().load.arrived(1).await;
    world.engine.gates().load.open();
    world.engine.gates().start.arrived(1).await;
    world
        .until(|world| world.status(&revision).waiting == 10)
        .await;
    world.engine.gates().start.open();
    let mut cold = 0;
    for call in calls {
        let (_, proof) = call.await.unwrap().unwrap();
        cold += u32::from(proof.start == Start::Cold);
    }
    assert_eq!(cold, 1);
    let status = world.quiet(&revision).await;
    assert_eq!((status.loaded, status.compiled, status.started), (1, 1, 1));
    assert_eq!(world.shelf.fetched.load(SeqCst), 1);
    let (_, proof) = world.call(&revision).await.unwrap();
    assert_eq!(proof.start, Start::Warm);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_of_one_serves_all_and_never_a_dirty_area() {
    let world = World::new();
    let highest = Arc::new(AtomicUsize::new(0));
    world.engine.teach("watched", watched(highest.clone()));
    let revision = world.revision("watched", one);
    let calls = (0..200).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    let mut proofs = Vec::new();
    for call in calls {
        let (count, proof) = call.await.unwrap().unwrap();
        assert_eq!(count, "1");
        proofs.push(proof);
    }
    assert_eq!(highest.load(SeqCst), 1);
    assert!(
        proofs
            .iter()
            .all(|proof| proof.environment == proofs[0].environment)
    );
    // Each use of an area is one run's alone.
    proofs.sort_by_key(|proof| (proof.area, proof.generation));
    proofs.dedup_by_key(|proof| (proof.area, proof.generation));
    assert_eq!(proofs.len(), 200);
    assert_eq!(world.quiet(&revision).await.started, 1);
}

/// The negative control of the test above: the guest does leave something, and it is seen without
/// renewal.
#[tokio::test]
async fn without_isolation_the_state_is_seen() {
    let world = World::new();
    let revision = world.revision("counter", |settings| {
        one(settings);
        settings.isolation = Isolation::None;
    });
    for count in 1..=20 {
        let (text, _) = world.call(&revision).await.unwrap();
        assert_eq!(text, count.to_string());
    }
}

#[tokio::test]
async fn who_waits_too_long_is_told_when_to_try_again() {
    let world = World::new();
    let revision = world.revision("slow", |settings| {
        one(settings);
        settings.limits.queue_wait_max_ms = 2_500;
        settings.limits.first_byte_max_ms = 600_000;
    });
    let running = world.begin(&revision);
    world.engine.gates().run.arrived(1).await;
    // From here on the clock goes on by itself whenever everybody waits.
    tokio::time::pause();
    let refused = world.call(&revision).await.unwrap_err();
    assert_eq!(refused, Fault::Busy { retry_after_s: 3 });
    assert_eq!(world.status(&revision).waiting, 0);
    world.engine.gates().run.open();
    assert!(running.await.unwrap().is_ok());
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let world = World::new();
    let revision = world.revision("slow", |settings| {
        one(settings);
        settings.limits.queue_max = 2;
    });
    let running = world.begin(&revision);
    world.engine.gates().run.arrived(1).await;
    // One may wait for its environment to start, two more in the queue.
    let waiting = (0..3).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    world
        .until(|world| world.status(&revision).waiting == 3)
        .await;
    let refused = world.call(&revision).await;
    assert!(matches!(refused, Err(Fault::Busy { .. })));
    world.engine.gates().run.open();
    for call in std::iter::once(running).chain(waiting) {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_request_waits_for_a_renewal_rather_than_run_in_a_dirty_area() {
    let world = World::new();
    let revision = world.revision("counter", one);
    world.engine.gates().renew.hold();
    assert_eq!(world.call(&revision).await.unwrap().0, "1");
    world.engine.gates().renew.arrived(1).await;
    let second = world.begin(&revision);
    world
        .until(|world| world.status(&revision).waiting == 1)
        .await;
    assert_eq!(world.status(&revision).renewing, 1);
    world.engine.gates().renew.open();
    let (text, proof) = second.await.unwrap().unwrap();
    assert_eq!(text, "1");
    assert_eq!(proof.start, Start::Warm);
    assert_eq!(world.quiet(&revision).await.started, 1);
}

#[tokio::test]
async fn a_pool_grows_to_its_bound_and_no_further() {
    let world = World::new();
    let revision = world.revision("slow", |settings| settings.limits.concurrency_max = 3);
    let calls = (0..5).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    world.engine.gates().run.arrived(3).await;
    let status = world.status(&revision);
    assert_eq!((status.busy, status.waiting, world.alive()), (3, 2, 3));
    world.engine.gates().run.open();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.quiet(&revision).await.clean, 3);
}

#[tokio::test]
async fn a_failed_start_fails_all_who_joined_it_and_can_be_tried_again() {
    let world = World::new();
    let revision = world.revision("hello", |_| {});
    world.engine.trouble().fail_start.store(true, SeqCst);
    world.engine.gates().start.hold();
    let calls = (0..5).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    world.engine.gates().start.arrived(1).await;
    world
        .until(|world| world.status(&revision).waiting == 5)
        .await;
    world.engine.gates().start.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap_err(), Fault::StartFailed);
    }
    assert_eq!(world.totals(&revision).starts_failed, 1);
    world.engine.trouble().fail_start.store(false, SeqCst);
    assert!(world.call(&revision).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_leaks_neither_state_nor_environments() {
    let world = World::new();
    let turn = Arc::new(AtomicUsize::new(0));
    let guest: Guest = Arc::new(move |visit| {
        let turn = turn.fetch_add(1, SeqCst);
        Box::pin(async move {
            let count = visit.memory.read(COUNTER_AT) + 1;
            visit.memory.write(COUNTER_AT, &[count]);
            tokio::task::yield_now().await;
            if turn.is_multiple_of(3) {
                return Err((Fault::Trap, "unreachable".to_owned()));
            }
            Ok(Answer::text(count.to_string()))
        })
    });
    world.engine.teach("crashes", guest);
    let revision = world.revision("crashes", |settings| settings.limits.concurrency_max = 4);
    let calls = (0..300).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    let mut trapped = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok((count, _)) => assert_eq!(count, "1"),
            Err(fault) => {
                assert_eq!(fault, Fault::Trap);
                trapped += 1;
            }
        }
    }
    assert_eq!(trapped, 100);
    let status = world.quiet(&revision).await;
    assert!(status.clean <= 4);
    // What was started is either clean or was ended by a trap.
    assert_eq!(status.started, u64::from(status.clean) + 100);
    world
        .until(|world| world.alive() == u64::from(status.clean))
        .await;
    assert_eq!(world.totals(&revision).requests["trap"], 100);
}

#[tokio::test]
async fn who_goes_away_in_mid_run_takes_the_environment_along_and_nothing_else() {
    let world = World::new();
    let revision = world.revision("slow", one);
    for _ in 0..3 {
        let running = world.begin(&revision);
        world.engine.gates().run.arrived(1).await;
        let waiting = world.begin(&revision);
        world
            .until(|world| world.status(&revision).waiting == 1)
            .await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        // Whoever waited gets a new environment.
        world.engine.gates().run.arrived(1).await;
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        assert_eq!(world.alive(), 0);
    }
    assert_eq!(world.totals(&revision).requests["caller-gone"], 6);
    world.engine.gates().run.open();
    assert!(world.call(&revision).await.is_ok());
    let status = world.quiet(&revision).await;
    assert_eq!((status.clean, status.waiting), (1, 0));
}

#[tokio::test]
async fn who_goes_away_while_waiting_gives_the_place_and_the_environment_back() {
    let world = World::new();
    let revision = world.revision("hello", one);
    world.engine.gates().start.hold();
    let calls = (0..3).map(|_| world.begin(&revision)).collect::<Vec<_>>();
    world.engine.gates().start.arrived(1).await;
    world
        .until(|world| world.status(&revision).waiting == 3)
        .await;
    for call in calls {
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
    }
    assert_eq!(world.status(&revision).waiting, 0);
    // The start goes on: somebody will want it.
    world.engine.gates().start.open();
    assert_eq!(world.quiet(&revision).await.clean, 1);
    let (_, proof) = world.call(&revision).await.unwrap();
    assert_eq!(proof.start, Start::Warm);
}

#[tokio::test(start_paused = true)]
async fn idle_environments_end_down_to_those_that_stay() {
    let world = World::new();
    for (ready_min, stay) in [(0, 0), (2, 2)] {
        let revision = world.revision("slow", |settings| {
            settings.keep.ready_min = ready_min;
            settings.keep.idle_max_s = 300;
        });
        let calls = (0..4).map(|_| world.begin(&revision)).collect::<Vec<_>>();
        world.engine.gates().run.arrived(4).await;
        world.engine.gates().run.let_through(4);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!(world.quiet(&revision).await.clean, 4);
        tokio::time::advance(Duration::from_secs(298)).await;
        world
            .until(|world| world.status(&revision).clean == 4)
            .await;
        tokio::time::advance(Duration::from_secs(4)).await;
        world
            .until(|world| world.status(&revision).clean == stay)
            .await;
        assert_eq!(world.alive(), u64::from(stay));
    }
}

#[tokio::test]
async fn a_deployment_starts_what_is_to_stand_ready() {
    let world = World::new();
    let revision = world.revision("hello", |settings| settings.keep.ready_min = 2);
    world.prepare(&revision).await.unwrap();
    assert_eq!(world.quiet(&revision).await.clean, 2);
    let (_, proof) = world.call(&revision).await.unwrap();
    assert_eq!(proof.start, Start::Warm);
}

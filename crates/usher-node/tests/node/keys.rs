//! State that is kept by key: within a key it grows, across keys nothing is seen, and what ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use usher_api::node::{LogEvent, LogQuery};
use usher_core::fault::Fault;
use usher_core::function::{Isolation, Revision, Settings};
use usher_core::key::{Key, KeyFlaw};
use usher_core::proof::{Proof, Renewal, Start};
use usher_engine::contract;
use usher_engine::fake::{Answer, COUNTER_AT, Guest};

use crate::World;

/// Where the guests note whose state it is.
const OWNER_AT: usize = COUNTER_AT + 1;

/// What stands there in a clean area; no key of a test has this number.
const NOBODY: u8 = 0xA5;

fn by_key(settings: &mut Settings) {
    settings.isolation = Isolation::Key("header:x-tenant".parse().unwrap());
}

fn key(number: usize) -> Key {
    Key::one_of([number.to_string().as_bytes()]).unwrap()
}

impl World {
    /// Invokes for a key, which the guest is told by the path, and reads the reply to its end.
    async fn call_as(
        &self,
        revision: &Arc<Revision>,
        number: usize,
    ) -> Result<(String, Proof), Fault> {
        self.call_at(revision, number, number.to_string()).await
    }

    async fn call_at(
        &self,
        revision: &Arc<Revision>,
        number: usize,
        path: String,
    ) -> Result<(String, Proof), Fault> {
        let request = contract::get(&format!("http://f.test/{path}"));
        let reply = self.reply_to(revision, Some(key(number)), request).await;
        let reply = reply.map_err(|failure| failure.fault)?;
        let body = reply.response.into_body().collect().await.unwrap();
        let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        Ok((text, reply.proof))
    }

    fn begin_as(
        &self,
        revision: &Arc<Revision>,
        number: usize,
    ) -> JoinHandle<Result<(String, Proof), Fault>> {
        let (world, revision) = (self.clone(), revision.clone());
        tokio::spawn(async move { world.call_as(&revision, number).await })
    }

    fn keys(&self, revision: &Arc<Revision>) -> u64 {
        let snapshot = self.node.snapshot();
        snapshot.functions[&revision.function].standing.keys
    }
}

/// Counts in its area, and says so if it finds there what another key has left.
fn jealous() -> Guest {
    Arc::new(move |visit| {
        Box::pin(async move {
            let path = visit.request.uri().path().trim_start_matches('/');
            let (number, trap) = match path.strip_suffix("/trap") {
                Some(number) => (number, true),
                None => (path, false),
            };
            let me = number.parse::<u8>().unwrap();
            let found = visit.memory.read(OWNER_AT);
            tokio::task::yield_now().await;
            let count = visit.memory.read(COUNTER_AT).wrapping_add(1);
            visit.memory.write(COUNTER_AT, &[count]);
            visit.memory.write(OWNER_AT, &[me]);
            tokio::task::yield_now().await;
            match (trap, found) {
                (true, _) => Err((Fault::Trap, "unreachable".to_owned())),
                (false, found) if found == NOBODY || found == me => {
                    Ok(Answer::text(count.to_string()))
                }
                _ => Ok(Answer::text("another one's")),
            }
        })
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_counts_on_its_own_however_many_call_at_once() {
    let world = World::new();
    world.engine.teach("jealous", jealous());
    let revision = world.revision("jealous", by_key);
    let calls = (0..400).map(|nth| (nth % 8, world.begin_as(&revision, nth % 8)));
    let calls = calls.collect::<Vec<_>>();
    let mut counted: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
    let mut environments: BTreeMap<usize, BTreeSet<_>> = BTreeMap::new();
    for (number, call) in calls {
        let (text, proof) = call.await.unwrap().unwrap();
        let count = text.parse::<u32>().unwrap();
        assert!(counted.entry(number).or_default().insert(count));
        assert_eq!(count > 1, proof.renewal == Renewal::Kept);
        environments
            .entry(number)
            .or_default()
            .insert(proof.environment);
    }
    for counts in counted.values() {
        assert_eq!(counts, &(1..=50).collect());
    }
    assert!(environments.values().all(|one| one.len() == 1));
    let all: BTreeSet<_> = environments.values().flatten().collect();
    assert_eq!(all.len(), 8, "two keys share an environment");
    assert_eq!((world.keys(&revision), world.alive()), (8, 8));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_sees_anothers_state_while_state_is_lost_all_the_time() {
    let world = World::new();
    world.engine.teach("jealous", jealous());
    let revision = world.revision("jealous", |settings| {
        by_key(settings);
        settings.keep.keys_max = 3;
    });
    let calls = (0..2_000).map(|nth: usize| {
        let (world, revision) = (world.clone(), revision.clone());
        let number = nth * 7 % 11;
        let path = match nth.is_multiple_of(13) {
            true => format!("{number}/trap"),
            false => number.to_string(),
        };
        tokio::spawn(async move { world.call_at(&revision, number, path).await })
    });
    for call in calls.collect::<Vec<_>>() {
        match call.await.unwrap() {
            Ok((text, _)) => assert!(text.parse::<u8>().is_ok(), "{text}"),
            Err(Fault::Trap | Fault::Busy { .. }) => {}
            Err(fault) => panic!("{fault:?}"),
        }
        assert!(world.keys(&revision) <= 3);
    }
    world.quiet(&revision).await;
    world.until(|world| world.alive() <= 3).await;
    assert!(world.totals(&revision).keys_given_up > 0);
    assert_eq!(world.status(&revision).quarantined, 0);
}

/// The negative control of the two tests above: without keys the same guest finds what others left.
#[tokio::test]
async fn without_keys_others_are_seen() {
    let world = World::new();
    world.engine.teach("jealous", jealous());
    let revision = world.revision("jealous", |settings| {
        settings.isolation = Isolation::None;
        settings.limits.concurrency_max = 1;
    });
    assert_eq!(world.call_as(&revision, 0).await.unwrap().0, "1");
    let (text, _) = world.call_as(&revision, 1).await.unwrap();
    assert_eq!(text, "another one's");
}

#[tokio::test]
async fn one_key_too_many_costs_the_least_recently_used_its_state() {
    let world = World::new();
    let revision = world.revision("counter", |settings| {
        by_key(settings);
        settings.keep.keys_max = 2;
    });
    for (number, count) in [(1, "1"), (2, "1"), (1, "2"), (3, "1"), (1, "3"), (2, "1")] {
        let (text, _) = world.call_as(&revision, number).await.unwrap();
        assert_eq!(text, count, "key {number}");
    }
    assert_eq!(world.totals(&revision).keys_given_up, 2);
    assert_eq!((world.keys(&revision), world.alive()), (2, 2));
}

#[tokio::test]
async fn a_flood_of_keys_leaves_no_more_than_the_bound_and_others_are_served() {
    let world = World::new();
    let revision = world.revision("counter", |settings| {
        by_key(settings);
        settings.keep.keys_max = 10;
    });
    for number in 1..=10_000 {
        let (text, _) = world.call_as(&revision, number).await.unwrap();
        assert_eq!(text, "1");
        // Used between all of them, this one is never the least recently used.
        let (text, _) = world.call_as(&revision, 0).await.unwrap();
        assert_eq!(text, (number % 256).to_string());
        assert!(world.alive() <= 11, "one may be on its way out");
    }
    assert_eq!(world.keys(&revision), 10);
    assert_eq!(world.totals(&revision).keys_given_up, 10_001 - 10);
}

#[tokio::test]
async fn a_fault_costs_one_key_its_state() {
    let world = World::new();
    world.engine.teach("jealous", jealous());
    let revision = world.revision("jealous", by_key);
    for number in [1, 2, 1, 2] {
        world.call_as(&revision, number).await.unwrap();
    }
    let trapped = world.call_at(&revision, 1, "1/trap".to_owned()).await;
    assert_eq!(trapped.unwrap_err(), Fault::Trap);
    assert_eq!(world.call_as(&revision, 1).await.unwrap().0, "1");
    assert_eq!(world.call_as(&revision, 2).await.unwrap().0, "3");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_used_for_long_loses_its_state() {
    let world = World::new();
    let revision = world.revision("counter", |settings| {
        by_key(settings);
        settings.keep.key_idle_max_s = 60;
    });
    for number in [1, 2] {
        world.call_as(&revision, number).await.unwrap();
    }
    tokio::time::advance(Duration::from_secs(50)).await;
    assert_eq!(world.call_as(&revision, 1).await.unwrap().0, "2");
    tokio::time::advance(Duration::from_secs(20)).await;
    world.until(|world| world.keys(&revision) == 1).await;
    assert_eq!(world.call_as(&revision, 1).await.unwrap().0, "3");
    assert_eq!(world.call_as(&revision, 2).await.unwrap().0, "1");
    assert_eq!(world.totals(&revision).keys_expired, 1);
}

#[tokio::test]
async fn requests_of_one_key_take_turns_and_hold_up_nobody_else() {
    let world = World::new();
    let revision = world.revision("slow", by_key);
    let first = world.begin_as(&revision, 1);
    world.engine.gates().run.arrived(1).await;
    let second = world.begin_as(&revision, 1);
    world
        .until(|world| world.status(&revision).waiting == 1)
        .await;
    let other = world.begin_as(&revision, 2);
    world.engine.gates().run.arrived(1).await;
    assert_eq!(world.status(&revision).busy, 2);
    assert_eq!(world.status(&revision).waiting, 1);
    world.engine.gates().run.open();
    let (_, first) = first.await.unwrap().unwrap();
    let (_, second) = second.await.unwrap().unwrap();
    let (_, other) = other.await.unwrap().unwrap();
    assert_eq!(first.environment, second.environment);
    assert_ne!(first.environment, other.environment);
}

#[tokio::test]
async fn nobody_runs_without_a_key() {
    let world = World::new();
    let revision = world.revision("counter", by_key);
    world.prepare(&revision).await.unwrap();
    let fault = world.call(&revision).await.unwrap_err();
    let expected = Fault::BadKey {
        header: "x-tenant".to_owned(),
        flaw: KeyFlaw::Missing,
    };
    assert_eq!(fault, expected);
    assert_eq!(fault.judge().status, 400);
    assert_eq!(world.totals(&revision).requests["bad-key"], 1);
    // What the deployment has started is clean, and the first key's.
    let (text, proof) = world.call_as(&revision, 1).await.unwrap();
    assert_eq!((text.as_str(), proof.start), ("1", Start::Warm));
    assert_eq!(world.quiet(&revision).await.started, 1);
}

#[tokio::test]
async fn what_stands_ready_is_for_new_keys() {
    let world = World::new();
    let revision = world.revision("counter", |settings| {
        by_key(settings);
        settings.keep.ready_min = 2;
    });
    world.prepare(&revision).await.unwrap();
    assert_eq!(world.quiet(&revision).await.clean, 2);
    for number in 1..=2 {
        let (_, proof) = world.call_as(&revision, number).await.unwrap();
        assert_eq!(proof.start, Start::Warm);
    }
    assert_eq!(world.keys(&revision), 2);
}

#[tokio::test]
async fn a_revision_that_is_given_up_ends_the_state_of_all_keys() {
    let world = World::new();
    let revision = world.revision("counter", by_key);
    for number in 1..=5 {
        world.call_as(&revision, number).await.unwrap();
    }
    assert_eq!(world.alive(), 5);
    usher_api::node::NodeControl::retire(&world.node, revision.id).await;
    assert_eq!(world.alive(), 0);
}

#[tokio::test]
async fn a_key_stands_in_the_log_by_its_digest_only() {
    let world = World::new();
    let revision = world.revision("counter", by_key);
    world
        .call_at(&revision, 4_711, String::new())
        .await
        .unwrap();
    let query = LogQuery::default();
    let lines = usher_api::node::NodeControl::logs(&world.node, &revision.function, query);
    let lines: Vec<_> = futures_util::StreamExt::collect(lines).await;
    let LogEvent::Request { key, .. } = &lines[0].event else {
        panic!("the line is the request's");
    };
    // What `printf 4711 | sha256sum` begins with.
    assert_eq!(key.as_deref(), Some("de650d61f5bd"));
    assert!(!serde_json::to_string(&lines).unwrap().contains("4711"));
}

//! The trace of many runs in sixteen environments at once: no use of an area comes twice, none has
//! two owners, and no run meets what another one has left.
//!
//! `USHER_COUNT` says how many requests there are.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use usher_core::function::Isolation;
use usher_core::id::{AreaId, EnvironmentId};
use usher_core::proof::Renewal;
use usher_engine::UsedFacts;

use crate::chance::Chance;
use crate::rig::{Guest, Image, Rig, Seat, count};

const ENVIRONMENTS: usize = 16;
/// Those who take environments, one request after the other.
const CALLERS: usize = 4;
/// Requests where nothing is told.
const REQUESTS: u64 = 160;
/// What is wrong is told up to this.
const FAULTS_MAX: usize = 20;

/// What is known of the areas so far, whatever the number of runs.
#[derive(Default)]
struct Trace {
    /// The environment and the latest generation of each area.
    areas: BTreeMap<u64, (EnvironmentId, u64)>,
    /// The latest area of each environment.
    latest: BTreeMap<u64, AreaId>,
    renewals: BTreeMap<&'static str, u64>,
    faults: Vec<String>,
}

impl Trace {
    /// Notes a run whose reply is there, and what it had seen before: `calls` is 1 in a clean one.
    fn note(&mut self, facts: UsedFacts, calls: u64) {
        *self.renewals.entry(facts.renewal.word()).or_default() += 1;
        let before = self.latest.insert(facts.environment.0, facts.area);
        let well = match facts.renewal {
            // Its first use; of a program that took another one's place as well.
            Renewal::Fresh | Renewal::Replaced => before.is_none(),
            Renewal::Swap => before.is_some_and(|before| before != facts.area),
            Renewal::InPlace => before == Some(facts.area),
            Renewal::Kept => false,
        };
        let use_of_it = (facts.environment, facts.generation.0);
        let next = match self.areas.entry(facts.area.0) {
            Entry::Vacant(new) => {
                new.insert(use_of_it);
                facts.generation.0 == 1
            }
            Entry::Occupied(mut known) => {
                let (owner, generation) = known.insert(use_of_it);
                owner == facts.environment && facts.generation.0 == generation + 1
            }
        };
        if (!well || !next || calls != 1) && self.faults.len() < FAULTS_MAX {
            self.faults
                .push(format!("{facts:?}, calls {calls}, before {before:?}"));
        }
    }
}

/// Has all seats serve, in no foreseeable order.
async fn traced(image: &Image, requests: u64) -> Trace {
    let mut seats = Vec::new();
    for _ in 0..ENVIRONMENTS {
        seats.push(image.seat().await);
    }
    let free = Arc::new(Mutex::new((seats, Chance::new())));
    let trace = Arc::new(Mutex::new(Trace::default()));
    let left = Arc::new(AtomicU64::new(requests));
    let callers = (0..CALLERS).map(|_| {
        let (free, trace, left) = (free.clone(), trace.clone(), left.clone());
        tokio::spawn(async move {
            let one_less = |left: u64| left.checked_sub(1);
            while left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
                .is_ok()
            {
                let mut seat = taken(&free);
                let calls = seat.ask("/answer").await.calls;
                trace.lock().note(seat.latest.unwrap(), calls);
                free.lock().0.push(seat);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    Arc::into_inner(trace).unwrap().into_inner()
}

/// Any of those that are free: there are fewer callers.
fn taken(free: &Mutex<(Vec<Seat>, Chance)>) -> Seat {
    let (seats, chance) = &mut *free.lock();
    let at = chance.below(seats.len() as u64);
    seats.swap_remove(usize::try_from(at).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_use_of_an_area_comes_twice_and_no_run_is_unrenewed() {
    let rig = Rig::new();
    let requests = count(REQUESTS);
    let image = rig.hostile(Guest::C, Isolation::Request, "").await;
    let begun = Instant::now();
    let trace = traced(&image, requests).await;
    println!(
        "{requests} requests, {ENVIRONMENTS} environments at first, {} areas, {:?}, {} s",
        trace.areas.len(),
        trace.renewals,
        begun.elapsed().as_secs()
    );
    assert!(trace.faults.is_empty(), "{:#?}", trace.faults);
    assert_eq!(trace.renewals.values().sum::<u64>(), requests);
    // Nothing replaced a program, where programs are put back.
    let times = |way: &str| trace.renewals.get(way).copied().unwrap_or_default();
    let back = times("in-place") + times("swap");
    if back > 0 {
        let first = trace.latest.len() as u64;
        assert!(back + first >= requests, "{:?}", trace.renewals);
        assert_eq!(times("replaced"), 0, "{:?}", trace.renewals);
    }
}

/// The control: where state is kept, the trace shows it in every run after an environment's first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_shows_runs_that_were_not_renewed() {
    let rig = Rig::new();
    let image = rig.hostile(Guest::C, Isolation::None, "").await;
    let trace = traced(&image, 3 * ENVIRONMENTS as u64).await;
    assert!(!trace.faults.is_empty());
    assert!(trace.renewals["kept"] >= 2 * ENVIRONMENTS as u64);
}

/// And it sees each kind of wrong step by itself.
#[test]
fn each_wrong_step_is_seen() {
    let facts = |environment, area, generation, renewal| UsedFacts {
        environment: EnvironmentId(environment),
        area: AreaId(area),
        generation: usher_core::id::Generation(generation),
        renewal,
        renew_us: 0,
    };
    let first = facts(1, 10, 1, Renewal::Fresh);
    let faults = |next: &[(UsedFacts, u64)]| {
        let mut trace = Trace::default();
        trace.note(first, 1);
        next.iter()
            .for_each(|(facts, calls)| trace.note(*facts, *calls));
        trace.faults.len()
    };
    assert_eq!(faults(&[(facts(1, 10, 2, Renewal::InPlace), 1)]), 0);
    assert_eq!(faults(&[(facts(1, 11, 1, Renewal::Swap), 1)]), 0);
    assert_eq!(faults(&[(facts(2, 11, 1, Renewal::Replaced), 1)]), 0);
    for wrong in [
        // Another area without a word, the same in spite of one, a use that comes twice, or is
        // left out, an area of somebody else, and a run that finds what was left.
        (facts(1, 11, 1, Renewal::InPlace), 1),
        (facts(1, 10, 2, Renewal::Swap), 1),
        (facts(1, 10, 1, Renewal::InPlace), 1),
        (facts(1, 10, 3, Renewal::InPlace), 1),
        (facts(2, 10, 2, Renewal::Replaced), 1),
        (facts(1, 10, 2, Renewal::InPlace), 2),
        (facts(1, 10, 2, Renewal::Kept), 2),
    ] {
        assert_eq!(faults(&[wrong]), 1, "{wrong:?}");
    }
}

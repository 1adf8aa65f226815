//! The pool against a naive twin, and what concurrent misses do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;

use proptest::prelude::*;
use usher_core::id::EnvironmentId;
use usher_core::proof::Start;
use usher_core::start::{Acquired, Bounds, Counts, Decision, Moves, Pool, Served, Ticket, decide};

fn bounds(environments_max: usize, starts_parallel_max: usize, waiting_max: usize) -> Bounds {
    Bounds {
        environments_max: NonZeroUsize::new(environments_max).expect("not zero"),
        starts_parallel_max: NonZeroUsize::new(starts_parallel_max).expect("not zero"),
        waiting_max,
    }
}

/// Everything is kept in plain sight, and nothing is decided.
#[derive(Default)]
struct Twin {
    idle: Vec<EnvironmentId>,
    out: BTreeMap<EnvironmentId, bool>,
    starting: usize,
    waiting: VecDeque<Ticket>,
    made: u64,
}

impl Twin {
    fn served(&mut self, served: Served) {
        assert_eq!(
            self.waiting.pop_front(),
            Some(served.ticket),
            "not first come, first served"
        );
        assert!(
            self.out.insert(served.environment, false).is_none(),
            "served to two"
        );
    }

    fn moves(&mut self, moves: Moves, environment: Option<EnvironmentId>) {
        match (moves.serve, environment) {
            (Some(served), Some(environment)) => {
                assert_eq!(served.environment, environment);
                self.served(served);
            }
            (None, Some(environment)) => self.idle.push(environment),
            (None, None) => {}
            (Some(_), None) => panic!("an environment out of nothing"),
        }
        assert_eq!(moves.ended, [], "nobody's state is kept here");
        self.starting += moves.starts;
    }

    fn check(&self, pool: &Pool, bounds: Bounds) {
        let counts = pool.counts();
        assert_eq!(counts.idle, self.idle.len());
        assert_eq!(counts.busy + counts.renewing, self.out.len());
        assert_eq!(
            counts.renewing,
            self.out.values().filter(|renewing| **renewing).count()
        );
        assert_eq!(counts.starting, self.starting);
        assert_eq!(counts.waiting, self.waiting.len());
        assert!(
            counts.environments() <= bounds.environments_max.get(),
            "too many environments"
        );
        assert!(
            counts.starting <= bounds.starts_parallel_max.get(),
            "too many starts"
        );
        assert!(counts.waiting <= bounds.waiting_max, "too many wait");
        assert!(
            counts.waiting == 0 || counts.idle == 0,
            "one waits beside a free one"
        );
        assert!(
            counts.waiting == 0 || counts.busy + counts.renewing + counts.starting > 0,
            "one who waits was forgotten"
        );
        let idle: Vec<EnvironmentId> = pool.idle().map(|idle| idle.environment).collect();
        assert_eq!(idle, self.idle);
    }
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Acquire,
    Ahead,
    Started,
    StartFailed,
    Renewing(prop::sample::Index),
    Released(prop::sample::Index),
    Died(prop::sample::Index),
    Expired(prop::sample::Index),
    Retire(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        6 => Just(Move::Acquire),
        1 => Just(Move::Ahead),
        3 => Just(Move::Started),
        1 => Just(Move::StartFailed),
        2 => index().prop_map(Move::Renewing),
        3 => index().prop_map(Move::Released),
        1 => index().prop_map(Move::Died),
        1 => index().prop_map(Move::Expired),
        1 => (0..3_usize).prop_map(Move::Retire),
    ];
    prop::collection::vec(one, 0..200)
}

fn pick(ids: impl Iterator<Item = EnvironmentId>, index: prop::sample::Index) -> EnvironmentId {
    let ids: Vec<EnvironmentId> = ids.collect();
    // Now and then one that is not known at all.
    let at = index.index(ids.len() + 1);
    ids.get(at).copied().unwrap_or(EnvironmentId(u64::MAX))
}

fn carry_out(pool: &mut Pool, twin: &mut Twin, one: Move, now_us: u64) {
    match one {
        Move::Acquire => match pool.acquire(now_us) {
            Acquired::Taken(environment) => {
                assert_eq!(twin.idle.pop(), Some(environment), "not the one used last");
                assert!(
                    twin.out.insert(environment, false).is_none(),
                    "served to two"
                );
            }
            Acquired::Waits { ticket, moves } => {
                twin.waiting.push_back(ticket);
                twin.moves(moves, None);
            }
            Acquired::Refused => {}
        },
        Move::Ahead => twin.starting += usize::from(pool.start_ahead()),
        Move::Started if twin.starting > 0 => {
            twin.starting -= 1;
            twin.made += 1;
            let environment = EnvironmentId(twin.made);
            let moves = pool.started(environment, now_us);
            twin.moves(moves, Some(environment));
        }
        Move::StartFailed if twin.starting > 0 => {
            twin.starting -= 1;
            for ticket in pool.start_failed() {
                assert_eq!(twin.waiting.pop_front(), Some(ticket));
            }
        }
        Move::Started | Move::StartFailed => {}
        Move::Renewing(index) => begin_renewing(pool, twin, index, now_us),
        Move::Released(index) => release(pool, twin, index, now_us),
        Move::Died(index) => die(pool, twin, index),
        Move::Expired(index) if !twin.waiting.is_empty() => {
            let ticket = twin
                .waiting
                .remove(index.index(twin.waiting.len()))
                .expect("it waits");
            assert!(pool.expired(ticket));
            assert!(!pool.expired(ticket), "it expired twice");
        }
        Move::Expired(_) => {}
        Move::Retire(count) => {
            let count_then = count.min(twin.idle.len());
            let oldest: Vec<EnvironmentId> = twin.idle.drain(..count_then).collect();
            assert_eq!(pool.retire(count), oldest);
        }
    }
}

fn begin_renewing(pool: &mut Pool, twin: &mut Twin, index: prop::sample::Index, now_us: u64) {
    let environment = pick(twin.out.keys().copied(), index);
    let known = twin
        .out
        .get_mut(&environment)
        .map(|renewing| *renewing = true);
    assert_eq!(pool.renewing(environment, now_us).is_ok(), known.is_some());
}

fn release(pool: &mut Pool, twin: &mut Twin, index: prop::sample::Index, now_us: u64) {
    let environment = pick(twin.out.keys().copied(), index);
    let known = twin.out.remove(&environment).is_some();
    match pool.released(environment, now_us) {
        Ok(moves) => {
            assert!(known, "one that is not out came back");
            twin.moves(moves, Some(environment));
        }
        Err(_) => assert!(!known),
    }
}

fn die(pool: &mut Pool, twin: &mut Twin, index: prop::sample::Index) {
    let all: BTreeSet<_> = twin.out.keys().chain(&twin.idle).copied().collect();
    let environment = pick(all.into_iter(), index);
    twin.out.remove(&environment);
    twin.idle.retain(|idle| *idle != environment);
    let moves = pool.died(environment);
    twin.moves(moves, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nobody_is_forgotten_and_no_bound_exceeded(
        environments_max in 1..5_usize,
        starts_parallel_max in 1..4_usize,
        waiting_max in 0..6_usize,
        moves in moves(),
    ) {
        let bounds = bounds(environments_max, starts_parallel_max, waiting_max);
        let mut pool = Pool::new(bounds);
        let mut twin = Twin::default();
        for (now_us, one) in moves.into_iter().enumerate() {
            carry_out(&mut pool, &mut twin, one, now_us as u64);
            twin.check(&pool, bounds);
        }
        // Whatever came before: where starts succeed and runs end, everybody is served.
        let mut steps_left = twin.waiting.len() + twin.starting;
        while !twin.waiting.is_empty() {
            prop_assert!(steps_left > 0, "one who waits was passed over");
            steps_left -= 1;
            let busy = twin.out.keys().next().copied();
            if twin.starting > 0 {
                carry_out(&mut pool, &mut twin, Move::Started, 1_000);
            } else if let Some(environment) = busy {
                twin.out.remove(&environment);
                let moves = pool.released(environment, 1_000).expect("it is out");
                twin.moves(moves, Some(environment));
            }
            twin.check(&pool, bounds);
        }
    }

    #[test]
    fn a_decision_never_breaks_a_bound(
        (idle, busy, renewing) in (0..4_usize, 0..4_usize, 0..4_usize),
        (starting, waiting) in (0..4_usize, 0..9_usize),
        (environments_max, starts_max, waiting_max) in (1..9_usize, 1..4_usize, 0..9_usize),
    ) {
        let counts = Counts { idle, busy, renewing, starting, waiting };
        let bounds = bounds(environments_max, starts_max, waiting_max);
        match decide(counts, bounds, starts_max) {
            Decision::Take => prop_assert!(idle > waiting),
            Decision::WaitForRenewal => prop_assert!(renewing > waiting),
            Decision::JoinStart => prop_assert!(starting > 0),
            Decision::StartAndWait => {
                prop_assert!(starting < starts_max);
                prop_assert!(counts.environments() < environments_max);
                prop_assert!(waiting >= renewing + starting, "a start that nobody needs");
            }
            Decision::Wait => prop_assert!(
                starting == 0 && counts.environments() >= environments_max
            ),
            Decision::Refuse => prop_assert!(waiting >= waiting_max),
        }
    }
}

fn ticket(acquired: Acquired) -> (Ticket, bool) {
    match acquired {
        Acquired::Waits { ticket, moves } => (ticket, moves.starts == 1),
        other => panic!("it does not wait: {other:?}"),
    }
}

#[test]
fn concurrent_misses_join_one_start_until_it_has_succeeded() {
    let mut pool = Pool::new(bounds(8, 4, 100));
    let (first, start) = ticket(pool.acquire(0));
    assert!(start);
    for _ in 0..15 {
        assert!(
            !ticket(pool.acquire(0)).1,
            "a second start beside the first one"
        );
    }
    let moves = pool.started(EnvironmentId(1), 0);
    let served = Served {
        ticket: first,
        environment: EnvironmentId(1),
        start: Start::Cold,
        renewal_wait_us: 0,
    };
    assert_eq!(
        moves,
        Moves {
            serve: Some(served),
            starts: 4,
            ..Moves::default()
        }
    );
    let moves = pool.started(EnvironmentId(2), 0);
    assert_eq!(moves.serve.map(|served| served.start), Some(Start::Joined));
    assert_eq!(moves.starts, 1);
    let moves = pool.released(EnvironmentId(1), 0).expect("it is out");
    assert_eq!(moves.serve.map(|served| served.start), Some(Start::Warm));
    assert_eq!(moves.starts, 0);
}

#[test]
fn a_failed_start_fails_those_who_have_nothing_else_to_wait_for() {
    let mut pool = Pool::new(bounds(2, 2, 100));
    let waiting: Vec<Ticket> = (0..3).map(|_| ticket(pool.acquire(0)).0).collect();
    assert_eq!(pool.start_failed(), waiting);
    assert_eq!(pool.counts(), Counts::default());
    // The next one tries again, and only that one.
    assert!(ticket(pool.acquire(0)).1);
    let _ = pool.started(EnvironmentId(1), 0);
    let (second, start) = ticket(pool.acquire(0));
    assert!(start);
    assert!(
        pool.start_failed().is_empty(),
        "an environment is out that will come back"
    );
    let moves = pool.released(EnvironmentId(1), 0).expect("it is out");
    assert_eq!(moves.serve.map(|served| served.ticket), Some(second));
}

#[test]
fn an_environment_that_dies_is_replaced_for_those_who_wait() {
    let mut pool = Pool::new(bounds(1, 1, 100));
    ticket(pool.acquire(0));
    let _ = pool.started(EnvironmentId(1), 0);
    let (_, start) = ticket(pool.acquire(0));
    assert!(!start, "there is room for one only");
    assert_eq!(
        pool.died(EnvironmentId(1)),
        Moves {
            starts: 1,
            ..Moves::default()
        }
    );
    assert_eq!(pool.died(EnvironmentId(1)), Moves::default());
}

#[test]
fn a_renewal_is_waited_for_rather_than_a_start_begun() {
    let mut pool = Pool::new(bounds(8, 8, 100));
    ticket(pool.acquire(0));
    let _ = pool.started(EnvironmentId(1), 0);
    pool.renewing(EnvironmentId(1), 0).expect("it is out");
    assert!(!ticket(pool.acquire(0)).1, "it is clean in a moment");
    assert!(ticket(pool.acquire(0)).1, "that one is spoken for");
}

//! Environments by key against a naive twin, and what a flood of keys does.

use std::num::NonZeroUsize;

use proptest::prelude::*;
use usher_core::id::EnvironmentId;
use usher_core::key::Key;
use usher_core::proof::Start;
use usher_core::start::by_key::{ByKey, Failed};
use usher_core::start::{Acquired, Bounds, Moves, Served, Ticket};

fn bounds(environments_max: usize, starts_parallel_max: usize, waiting_max: usize) -> Bounds {
    Bounds {
        environments_max: NonZeroUsize::new(environments_max).expect("not zero"),
        starts_parallel_max: NonZeroUsize::new(starts_parallel_max).expect("not zero"),
        waiting_max,
    }
}

fn key(number: u32) -> Key {
    Key::one_of([number.to_be_bytes().as_slice()]).expect("four bytes are a key")
}

/// An environment, with all that ever happened to it.
#[derive(Debug)]
struct Environment {
    id: EnvironmentId,
    /// Whose it has been, from the first use on.
    owner: Option<u32>,
    /// By whom it is used now; the inner none is whoever deploys.
    user: Option<Option<u32>>,
    /// When it was given back last, by a count that never stands still.
    given_back: u64,
    since_ms: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    key: Option<u32>,
    began: bool,
}

/// Everything is kept in two lists and looked for from one end to the other.
#[derive(Default)]
struct Twin {
    environments: Vec<Environment>,
    waiting: Vec<Waiter>,
    starting: usize,
    proven: bool,
    squeezed: bool,
    made: u64,
    count: u64,
}

impl Twin {
    fn of(&self, key: Option<u32>) -> Option<usize> {
        let of_key = |it: &Environment| key.is_some() && it.owner == key;
        self.environments.iter().position(of_key)
    }

    /// Who has to wait for a start: the first of each key without an environment.
    fn homeless(&self) -> Vec<usize> {
        let first = |at: usize, waiter: &Waiter| {
            let before = &self.waiting[..at];
            self.of(waiter.key).is_none()
                && (waiter.key.is_none() || before.iter().all(|other| other.key != waiter.key))
        };
        let waiting = self.waiting.iter().enumerate();
        let homeless = waiting.filter(|(at, waiter)| first(*at, waiter));
        homeless.map(|(at, _)| at).collect()
    }

    /// What is clean and used by nobody, the one given back last.
    fn clean(&self) -> Option<usize> {
        let free = |at: &usize| {
            let it = &self.environments[*at];
            it.owner.is_none() && it.user.is_none()
        };
        (0..self.environments.len())
            .filter(free)
            .max_by_key(|at| self.environments[*at].given_back)
    }

    /// What is kept for a key that does not use it now, the least recently used.
    fn least_recent(&self) -> Option<usize> {
        let free = |at: &usize| {
            let it = &self.environments[*at];
            it.owner.is_some() && it.user.is_none()
        };
        (0..self.environments.len())
            .filter(free)
            .min_by_key(|at| self.environments[*at].given_back)
    }

    fn starts_max(&self, bounds: Bounds) -> usize {
        match self.proven {
            true => bounds.starts_parallel_max.get(),
            false => 1,
        }
    }

    fn has_room(&self, bounds: Bounds) -> bool {
        self.environments.len() + self.starting < bounds.environments_max.get()
    }

    /// Serves the waiter at this place with the environment at that one.
    fn serve(&mut self, waiter: usize, environment: usize, start: Start) -> Served {
        let waiter = self.waiting.remove(waiter);
        let environment = &mut self.environments[environment];
        assert!(environment.owner.is_none() || environment.owner == waiter.key);
        environment.owner = waiter.key;
        environment.user = Some(waiter.key);
        Served {
            ticket: waiter.ticket,
            environment: environment.id,
            start,
            renewal_wait_us: 0,
        }
    }

    /// What has to follow, found by looking at everything.
    fn follow(&mut self, bounds: Bounds, mut serve: Option<Served>) -> Moves {
        if let (None, Some(waiter), Some(at)) = (serve, self.homeless().first(), self.clean()) {
            serve = Some(self.serve(*waiter, at, Start::Warm));
        }
        let mut moves = Moves {
            serve,
            ..Moves::default()
        };
        while self.homeless().len() > self.starting && self.starting < self.starts_max(bounds) {
            if !self.has_room(bounds) {
                let Some(at) = self.least_recent() else { break };
                moves.ended.push(self.environments.remove(at).id);
            }
            self.starting += 1;
            moves.starts += 1;
        }
        moves
    }

    fn check(&self, plan: &ByKey, bounds: Bounds) {
        let counts = plan.counts();
        let used = self.environments.iter().filter(|it| it.user.is_some());
        assert_eq!(counts.busy, used.count());
        assert_eq!(counts.idle + counts.busy, self.environments.len());
        assert_eq!(counts.starting, self.starting);
        assert_eq!(counts.waiting, self.waiting.len());
        let owned = self.environments.iter().filter(|it| it.owner.is_some());
        assert_eq!(plan.keys(), owned.count());
        assert!(counts.environments() <= bounds.environments_max.get());
        assert!(counts.starting <= bounds.starts_parallel_max.get());
        assert!(counts.waiting <= bounds.waiting_max);
        for (at, it) in self.environments.iter().enumerate() {
            let twice = &self.environments[..at];
            assert!(it.owner.is_none() || twice.iter().all(|other| other.owner != it.owner));
        }
        let homeless = self.homeless().len();
        assert!(
            homeless == 0 || self.clean().is_none(),
            "one waits beside a clean one"
        );
        assert!(
            homeless == 0 || counts.busy + counts.starting > 0,
            "one who waits was forgotten"
        );
        let mut clean: Vec<_> = self
            .environments
            .iter()
            .filter(|it| it.owner.is_none() && it.user.is_none())
            .collect();
        clean.sort_by_key(|it| it.given_back);
        let clean: Vec<_> = clean.iter().map(|it| it.id).collect();
        let told: Vec<_> = plan.clean().map(|idle| idle.environment).collect();
        assert_eq!(told, clean);
    }
}

#[derive(Clone, Copy, Debug)]
enum Move {
    /// Of a key; none: of whoever deploys.
    Acquire(Option<u32>),
    Ahead,
    Started,
    StartFailed,
    Released(prop::sample::Index),
    Died(prop::sample::Index),
    Expired(prop::sample::Index),
    Retire(usize),
    RetireUnused(u64),
    RetireAll,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let index = any::<prop::sample::Index>;
    let one = prop_oneof![
        12 => (0..7_u32).prop_map(|key| Move::Acquire(Some(key))),
        1 => Just(Move::Acquire(None)),
        1 => Just(Move::Ahead),
        5 => Just(Move::Started),
        1 => Just(Move::StartFailed),
        8 => index().prop_map(Move::Released),
        1 => index().prop_map(Move::Died),
        1 => index().prop_map(Move::Expired),
        1 => (0..3_usize).prop_map(Move::Retire),
        1 => (0..40_u64).prop_map(Move::RetireUnused),
        1 => Just(Move::RetireAll),
    ];
    prop::collection::vec(one, 0..200)
}

/// Both sides of the comparison, and the clock.
struct Rig {
    plan: ByKey,
    twin: Twin,
    bounds: Bounds,
    now_ms: u64,
}

impl Rig {
    fn new(bounds: Bounds) -> Self {
        Self {
            plan: ByKey::new(bounds),
            twin: Twin::default(),
            bounds,
            now_ms: 0,
        }
    }

    fn carry_out(&mut self, one: Move) {
        self.now_ms += 1;
        match one {
            Move::Acquire(key) => self.acquire(key),
            Move::Ahead => {
                let twin = &mut self.twin;
                let allowed =
                    twin.starting < twin.starts_max(self.bounds) && twin.has_room(self.bounds);
                twin.starting += usize::from(allowed);
                assert_eq!(self.plan.start_ahead(), allowed);
            }
            Move::Started if self.twin.starting > 0 => self.started(),
            Move::StartFailed if self.twin.starting > 0 => self.start_failed(),
            Move::Started | Move::StartFailed => {}
            Move::Released(index) => self.released(index),
            Move::Died(index) => self.died(index),
            Move::Expired(index) => self.expired(index),
            Move::Retire(count) => {
                let mut expected = Vec::new();
                let clean: Vec<_> = self.plan.clean().map(|it| it.environment).collect();
                for id in clean.into_iter().take(count) {
                    self.twin.environments.retain(|it| it.id != id);
                    expected.push(id);
                }
                assert_eq!(self.plan.retire(count), expected);
            }
            Move::RetireUnused(idle_max_ms) => {
                let mut expected = Vec::new();
                while let Some(at) = self.twin.least_recent()
                    && self.twin.environments[at].since_ms + idle_max_ms <= self.now_ms
                {
                    expected.push(self.twin.environments.remove(at).id);
                }
                assert_eq!(self.plan.retire_unused(idle_max_ms, self.now_ms), expected);
            }
            Move::RetireAll => {
                let retired = self.plan.retire_all();
                let used = |it: &Environment| it.user.is_some();
                let unused = self.twin.environments.iter().filter(|it| !used(it));
                assert_eq!(retired.len(), unused.count());
                self.twin.environments.retain(used);
            }
        }
        self.twin.check(&self.plan, self.bounds);
    }

    fn acquire(&mut self, wanted: Option<u32>) {
        let acquired = self.plan.acquire(wanted.map(key).as_ref());
        let twin = &mut self.twin;
        let home = twin.of(wanted);
        let free = match home {
            Some(at) => twin.environments[at].user.is_none().then_some(at),
            None => twin.clean(),
        };
        if let Some(at) = free {
            let it = &mut twin.environments[at];
            (it.owner, it.user) = (wanted, Some(wanted));
            return assert_eq!(acquired, Acquired::Taken(it.id));
        }
        if twin.waiting.len() >= self.bounds.waiting_max {
            return assert_eq!(acquired, Acquired::Refused);
        }
        let Acquired::Waits { ticket, moves } = acquired else {
            panic!("it neither waits nor was refused: {acquired:?}");
        };
        twin.waiting.push(Waiter {
            ticket,
            key: wanted,
            began: false,
        });
        assert_eq!(moves, twin.follow(self.bounds, None));
        let last = twin.waiting.last_mut().expect("it waits");
        last.began = moves.starts > 0;
    }

    fn started(&mut self) {
        let twin = &mut self.twin;
        twin.starting -= 1;
        (twin.proven, twin.squeezed) = (true, false);
        twin.made += 1;
        let id = EnvironmentId(twin.made);
        let moves = self.plan.started(id, self.now_ms);
        let serve = self.come(id, None);
        let expected = self.twin.follow(self.bounds, serve);
        assert_eq!(moves, expected);
    }

    /// A clean environment is there: it goes to who waits for one first. `start`: how, where that
    /// does not depend on who began a start.
    fn come(&mut self, id: EnvironmentId, start: Option<Start>) -> Option<Served> {
        let twin = &mut self.twin;
        twin.count += 1;
        twin.environments.push(Environment {
            id,
            owner: None,
            user: None,
            given_back: twin.count,
            since_ms: self.now_ms,
        });
        let waiter = *twin.homeless().first()?;
        let begun = match twin.waiting[waiter].began {
            true => Start::Cold,
            false => Start::Joined,
        };
        let last = twin.environments.len() - 1;
        Some(twin.serve(waiter, last, start.unwrap_or(begun)))
    }

    fn start_failed(&mut self) {
        let failed = self.plan.start_failed();
        let twin = &mut self.twin;
        twin.starting -= 1;
        let homeless = twin.homeless();
        let mut expected = Failed::default();
        match twin.least_recent() {
            Some(at) if !twin.squeezed && !homeless.is_empty() => {
                twin.squeezed = true;
                twin.starting += 1;
                expected.moves.ended.push(twin.environments.remove(at).id);
                expected.moves.starts = 1;
            }
            _ if twin.starting == 0 => {
                let (fails, stays): (Vec<_>, Vec<_>) = std::mem::take(&mut twin.waiting)
                    .into_iter()
                    .partition(|waiter| twin.of(waiter.key).is_none());
                expected.tickets = fails.iter().map(|waiter| waiter.ticket).collect();
                twin.waiting = stays;
            }
            _ => {}
        }
        assert_eq!(failed, expected);
    }

    fn released(&mut self, index: prop::sample::Index) {
        let used = self.used();
        match used.get(index.index(used.len() + 1)) {
            Some(at) => self.give_back(*at),
            None => {
                let unknown = EnvironmentId(u64::MAX);
                assert!(self.plan.released(unknown, self.now_ms).is_err());
            }
        }
    }

    /// The places of those that are in use.
    fn used(&self) -> Vec<usize> {
        let all = self.twin.environments.iter().enumerate();
        let used = all.filter(|(_, it)| it.user.is_some());
        used.map(|(at, _)| at).collect()
    }

    fn give_back(&mut self, at: usize) {
        let id = self.twin.environments[at].id;
        let moves = self.plan.released(id, self.now_ms).expect("it is out");
        let serve = match self.twin.environments[at].owner {
            None => {
                self.twin.environments.remove(at);
                self.come(id, Some(Start::Warm))
            }
            owner => {
                let twin = &mut self.twin;
                twin.count += 1;
                let it = &mut twin.environments[at];
                (it.user, it.given_back, it.since_ms) = (None, twin.count, self.now_ms);
                let next = twin.waiting.iter().position(|waiter| waiter.key == owner);
                next.map(|next| twin.serve(next, at, Start::Warm))
            }
        };
        let expected = self.twin.follow(self.bounds, serve);
        assert_eq!(moves, expected);
    }

    fn died(&mut self, index: prop::sample::Index) {
        let at = index.index(self.twin.environments.len() + 1);
        let id = match at < self.twin.environments.len() {
            true => self.twin.environments.remove(at).id,
            false => EnvironmentId(u64::MAX),
        };
        let moves = self.plan.died(id);
        let expected = self.twin.follow(self.bounds, None);
        assert_eq!(moves, expected);
    }

    fn expired(&mut self, index: prop::sample::Index) {
        let at = index.index(self.twin.waiting.len() + 1);
        if at == self.twin.waiting.len() {
            return assert!(!self.plan.expired(Ticket(u64::MAX)));
        }
        let waiter = self.twin.waiting.remove(at);
        assert!(self.plan.expired(waiter.ticket));
        assert!(!self.plan.expired(waiter.ticket), "it expired twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_key_meets_anothers_environment_and_nobody_is_forgotten(
        environments_max in 1..6_usize,
        starts_parallel_max in 1..4_usize,
        waiting_max in 0..9_usize,
        moves in moves(),
    ) {
        let mut rig = Rig::new(bounds(environments_max, starts_parallel_max, waiting_max));
        for one in moves {
            rig.carry_out(one);
        }
        // Whatever came before: where starts succeed and runs end, everybody is served.
        let mut steps_left = 4 * (rig.twin.waiting.len() + rig.twin.starting) + 4;
        while !rig.twin.waiting.is_empty() {
            prop_assert!(steps_left > 0, "one who waits was passed over");
            steps_left -= 1;
            match rig.used().first() {
                _ if rig.twin.starting > 0 => rig.carry_out(Move::Started),
                Some(at) => rig.give_back(*at),
                None => prop_assert!(false, "one who waits has nothing to wait for"),
            }
        }
    }
}

fn ask(plan: &mut ByKey, number: u32) -> Acquired {
    plan.acquire(Some(&key(number)))
}

fn ticket(acquired: Acquired) -> (Ticket, Moves) {
    match acquired {
        Acquired::Waits { ticket, moves } => (ticket, moves),
        other => panic!("it does not wait: {other:?}"),
    }
}

/// A plan in which the keys from 0 on have an environment each, used in this order.
fn with_keys(keys_max: usize, keys: u32) -> ByKey {
    let mut plan = ByKey::new(bounds(keys_max, 4, 100));
    for number in 0..keys {
        let (_, moves) = ticket(ask(&mut plan, number));
        assert_eq!(moves.starts, 1);
        let environment = EnvironmentId(u64::from(number));
        let served = plan.started(environment, 0).serve.expect("one waits");
        assert_eq!(served.start, Start::Cold);
        let _ = plan.released(environment, u64::from(number)).expect("out");
    }
    plan
}

#[test]
fn a_key_comes_back_to_its_own_environment() {
    let mut plan = with_keys(3, 3);
    for number in [1, 0, 2, 1] {
        let environment = EnvironmentId(u64::from(number));
        assert_eq!(ask(&mut plan, number), Acquired::Taken(environment));
        let _ = plan.released(environment, 9).expect("out");
    }
}

#[test]
fn a_request_of_a_key_in_use_waits_though_others_are_free() {
    let mut plan = with_keys(3, 3);
    assert_eq!(ask(&mut plan, 1), Acquired::Taken(EnvironmentId(1)));
    let (waits, moves) = ticket(ask(&mut plan, 1));
    assert_eq!(moves, Moves::default(), "no second environment for a key");
    let moves = plan.released(EnvironmentId(1), 9).expect("out");
    let served = moves.serve.expect("one waits");
    assert_eq!(
        (served.ticket, served.environment),
        (waits, EnvironmentId(1))
    );
}

#[test]
fn the_least_recently_used_key_loses_its_state_to_one_too_many() {
    let mut plan = with_keys(3, 3);
    // Used last, it is not the one that goes.
    assert_eq!(ask(&mut plan, 0), Acquired::Taken(EnvironmentId(0)));
    let _ = plan.released(EnvironmentId(0), 9).expect("out");
    let (_, moves) = ticket(ask(&mut plan, 7));
    assert_eq!(moves.ended, [EnvironmentId(1)]);
    assert_eq!(moves.starts, 1);
    // The control: within the bound nothing is lost.
    let mut roomy = with_keys(4, 3);
    assert_eq!(ticket(ask(&mut roomy, 7)).1.ended, []);
}

#[test]
fn what_is_in_use_is_never_given_up() {
    let mut plan = with_keys(2, 2);
    for number in 0..2 {
        assert!(matches!(ask(&mut plan, number), Acquired::Taken(_)));
    }
    let (_, moves) = ticket(ask(&mut plan, 7));
    assert_eq!(moves, Moves::default());
    let moves = plan.released(EnvironmentId(1), 9).expect("out");
    assert_eq!((moves.ended, moves.starts), (vec![EnvironmentId(1)], 1));
}

#[test]
fn a_million_keys_leave_no_more_than_the_bound() {
    let mut plan = with_keys(10, 10);
    let mut ended = 0;
    for number in 10..1_000_010_u32 {
        let (_, moves) = ticket(ask(&mut plan, number));
        ended += moves.ended.len();
        let environment = EnvironmentId(u64::from(number));
        let moves = plan.started(environment, 0);
        assert!(moves.serve.is_some());
        let _ = plan.released(environment, 0).expect("out");
        assert!(plan.keys() <= 10);
    }
    assert_eq!(ended, 1_000_000);
    assert_eq!(plan.counts().environments(), 10);
}

#[test]
fn a_start_that_fails_costs_one_state_and_is_tried_once_more() {
    let mut plan = with_keys(9, 2);
    let (waits, _) = ticket(ask(&mut plan, 7));
    let failed = plan.start_failed();
    assert_eq!(failed.moves.ended, [EnvironmentId(0)]);
    assert_eq!((failed.moves.starts, failed.tickets), (1, vec![]));
    let failed = plan.start_failed();
    assert_eq!(
        (failed.moves, failed.tickets),
        (Moves::default(), vec![waits])
    );
    // Not the next one's either, until a start has succeeded again.
    let (waits, _) = ticket(ask(&mut plan, 8));
    assert_eq!(plan.start_failed().tickets, [waits]);
    assert_eq!(ask(&mut plan, 1), Acquired::Taken(EnvironmentId(1)));
}

#[test]
fn whoever_deploys_leaves_a_clean_environment_for_the_first_key() {
    let mut plan = ByKey::new(bounds(2, 1, 9));
    let (_, moves) = ticket(plan.acquire(None));
    assert_eq!(moves.starts, 1);
    let _ = plan.started(EnvironmentId(1), 0);
    let _ = plan.released(EnvironmentId(1), 0).expect("out");
    assert_eq!(plan.keys(), 0);
    assert_eq!(ask(&mut plan, 1), Acquired::Taken(EnvironmentId(1)));
    assert_eq!(plan.keys(), 1);
}

//! Admission against a naive twin, and the promise that nobody starves.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use usher_core::admit::{
    Admission, Arrival, Bound, Load, Overall, PerFunction, PerOwner, Ticket, Waited,
};
use usher_core::key::Key;

const ROOMY: Overall = Overall {
    running_max: 1_000,
    waiting_max: 1_000,
    waiting_max_bytes: 1 << 20,
};

/// An owner without a bound.
const ANN: PerOwner = PerOwner {
    owner: 0,
    concurrency_max: None,
};

#[derive(Clone, Copy, Debug)]
enum Move {
    Arrive {
        function: u8,
        key: Option<u8>,
        bytes: u64,
    },
    Finished(prop::sample::Index),
    Gone(prop::sample::Index),
    Later(u64),
    Redeployed {
        function: u8,
        concurrency_max: u32,
    },
    /// The owner's next arrival brings this bound.
    Bounded {
        owner: u64,
        concurrency_max: Option<u32>,
    },
    Sweep,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        10 => (0..4_u8, prop::option::of(0..3_u8), 0..100_u64)
            .prop_map(|(function, key, bytes)| Move::Arrive { function, key, bytes }),
        5 => any::<prop::sample::Index>().prop_map(Move::Finished),
        1 => any::<prop::sample::Index>().prop_map(Move::Gone),
        1 => (0..60_u64).prop_map(Move::Later),
        1 => (0..4_u8, 1..4_u32).prop_map(|(function, concurrency_max)| Move::Redeployed {
            function,
            concurrency_max,
        }),
        1 => (0..2_u64, prop::option::of(0..4_u32)).prop_map(|(owner, concurrency_max)| {
            Move::Bounded { owner, concurrency_max }
        }),
        1 => Just(Move::Sweep),
    ];
    prop::collection::vec(one, 0..300)
}

fn key(number: u8) -> Key {
    Key::one_of([[number].as_slice()]).expect("a byte is a key")
}

/// Two functions each.
fn owner_of(function: u8) -> u64 {
    u64::from(function / 2)
}

struct Waiter {
    function: u8,
    key: Option<u8>,
    bytes: u64,
    until_ms: u64,
}

/// Everything in plain sight.
struct Twin {
    overall: Overall,
    bounds: BTreeMap<u8, PerFunction>,
    /// What the function's latest arrival brought: it holds from then on.
    concurrency: BTreeMap<u8, usize>,
    /// What holds for the owners, and what their latest arrivals brought.
    owners: BTreeMap<u64, Option<u32>>,
    owners_then: BTreeMap<u64, Option<u32>>,
    known: BTreeSet<u64>,
    running: Vec<(u8, Option<u8>)>,
    waiting: BTreeMap<Ticket, Waiter>,
}

impl Twin {
    fn running_of(&self, function: u8) -> usize {
        let of_function = self.running.iter().filter(|(it, _)| *it == function);
        of_function.count()
    }

    fn load(&self) -> Load {
        Load {
            running: self.running.len(),
            waiting: self.waiting.len(),
            waiting_bytes: self.waiting.values().map(|waiter| waiter.bytes).sum(),
        }
    }

    fn waiting_of(&self, function: u8) -> usize {
        self.waiting
            .values()
            .filter(|waiter| waiter.function == function)
            .count()
    }

    fn load_of_owner(&self, owner: u64) -> Load {
        let running = self.running.iter().filter(|it| owner_of(it.0) == owner);
        let waiting = self.waiting.values();
        let waiting = waiting.filter(|it| owner_of(it.function) == owner);
        Load {
            running: running.count(),
            waiting: waiting.clone().count(),
            waiting_bytes: waiting.map(|waiter| waiter.bytes).sum(),
        }
    }

    fn owner_has_room(&self, owner: u64) -> bool {
        let running = self.load_of_owner(owner).running;
        self.owners_then[&owner].is_none_or(|max| running < max as usize)
    }

    fn room(&self, function: u8) -> bool {
        self.load().running < self.overall.running_max
            && self.owner_has_room(owner_of(function))
            && self.running_of(function) < self.concurrency[&function]
    }

    /// Whether one more may wait as far as the owner's share goes.
    fn shares(&self, owner: u64, bytes: u64) -> bool {
        let load = self.load_of_owner(owner);
        let parts = if self.known.len() > 1 { 2 } else { 1 };
        load.waiting < self.overall.waiting_max.div_ceil(parts)
            && load.waiting_bytes + bytes <= self.overall.waiting_max_bytes.div_ceil(parts as u64)
    }

    /// Whether a key stands in nobody's way.
    fn free(&self, function: u8, key: Option<u8>) -> bool {
        key.is_none() || !self.running.contains(&(function, key))
    }

    /// Who of a function could run but for the bounds, first come first.
    fn ready(&self, function: u8) -> Option<Ticket> {
        let mut waiting = self.waiting.iter();
        let ready = waiting.find(|(_, it)| it.function == function && self.free(function, it.key));
        ready.map(|(ticket, _)| *ticket)
    }

    fn arrive(
        &mut self,
        door: &mut Admission<u8>,
        (function, number): (u8, Option<u8>),
        bytes: u64,
        now_ms: u64,
    ) {
        let bounds = self.bounds[&function];
        self.concurrency
            .insert(function, bounds.concurrency_max as usize);
        let owner = owner_of(function);
        self.owners_then.insert(owner, self.owners[&owner]);
        self.known.insert(owner);
        let load = self.load();
        let waits = |it: &&Waiter| it.function == function && it.key == number;
        let of_key = self.waiting.values().filter(waits).count();
        let full = self.waiting_of(function) >= bounds.queue_max as usize
            || number.is_some() && of_key >= bounds.queue_max.div_ceil(2) as usize
            || !self.shares(owner, bytes)
            || load.waiting >= self.overall.waiting_max
            || load.waiting_bytes + bytes > self.overall.waiting_max_bytes;
        // Somebody of the owner could run only where its bound was raised just now.
        let before = (0..4).any(|other| {
            owner_of(other) == owner && self.ready(other).is_some() && self.room(other)
        });
        let first = self.ready(function).is_none() && !before;
        let runs = first && self.room(function) && self.free(function, number);
        let per_owner = PerOwner {
            owner,
            concurrency_max: self.owners[&owner],
        };
        let of = number.map(key);
        match door.arrive(&function, per_owner, of.as_ref(), bounds, bytes, now_ms) {
            Arrival::Run => {
                assert!(runs, "it runs where there is no room");
                self.running.push((function, number));
            }
            Arrival::Wait(ticket) => {
                assert!(
                    !runs && !full,
                    "it waits where it could run, or where it may not"
                );
                let until_ms = now_ms + bounds.queue_wait_max_ms;
                self.waiting.insert(
                    ticket,
                    Waiter {
                        function,
                        key: number,
                        bytes,
                        until_ms,
                    },
                );
            }
            Arrival::Refuse {
                retry_after_s,
                bound,
            } => {
                assert!(!runs && full, "sent away for no reason");
                let by_owner = !self.owner_has_room(owner);
                assert_eq!(bound == Bound::Owner, by_owner, "another's bound is told");
                assert!((1..=60).contains(&retry_after_s));
            }
        }
    }

    fn finish(&mut self, door: &mut Admission<u8>, at: usize) {
        if at < self.running.len() {
            let (function, of) = self.running.remove(at);
            door.finished(&function, of.map(key).as_ref());
        } else {
            // One that does not run changes nothing.
            door.finished(&0, Some(&key(9)));
            door.finished(&9, None);
        }
    }

    fn leave(&mut self, door: &mut Admission<u8>, at: usize) {
        let ticket = self.waiting.keys().nth(at).copied();
        let left = ticket.and_then(|ticket| self.waiting.remove_entry(&ticket));
        if let Some((ticket, waiter)) = left {
            let of = waiter.key.map(key);
            assert!(door.gone(&waiter.function, of.as_ref(), ticket));
            let twice = door.gone(&waiter.function, of.as_ref(), ticket);
            assert!(!twice, "it went away twice");
        }
    }

    fn expire(&mut self, door: &mut Admission<u8>, now_ms: u64) {
        while let Some(waited) = door.expired(now_ms) {
            let waiter = self.waiting.remove(&waited.ticket).expect("it waited");
            let expected = Waited {
                function: waiter.function,
                key: waiter.key.map(key),
                ticket: waited.ticket,
            };
            assert_eq!(waited, expected);
            assert!(waiter.until_ms <= now_ms, "sent away too early");
        }
    }

    fn pump(&mut self, door: &mut Admission<u8>) {
        while let Some(waited) = door.admit_next() {
            let (function, ticket) = (waited.function, waited.ticket);
            assert!(self.room(function), "a bound was exceeded");
            assert_eq!(
                self.ready(function),
                Some(ticket),
                "not first come first served"
            );
            let waiter = self.waiting.remove(&ticket).expect("it waited");
            assert_eq!(waited.key, waiter.key.map(key));
            assert!(self.free(function, waiter.key), "two of one key run");
            self.running.push((function, waiter.key));
        }
        for waiter in self.waiting.values() {
            let free = self.free(waiter.function, waiter.key);
            assert!(
                !free || !self.room(waiter.function),
                "one waits who could run"
            );
        }
    }
}

fn play(overall: Overall, moves: Vec<Move>) {
    let mut door = Admission::new(overall);
    let bounds = |concurrency_max| PerFunction {
        concurrency_max,
        queue_max: 5,
        queue_wait_max_ms: 50,
    };
    let mut twin = Twin {
        overall,
        bounds: (0..4).map(|function| (function, bounds(2))).collect(),
        concurrency: BTreeMap::new(),
        owners: [(0, None), (1, None)].into(),
        owners_then: [(0, None), (1, None)].into(),
        known: BTreeSet::new(),
        running: Vec::new(),
        waiting: BTreeMap::new(),
    };
    let mut now_ms = 0;
    for one in moves {
        match one {
            Move::Arrive {
                function,
                key,
                bytes,
            } => twin.arrive(&mut door, (function, key), bytes, now_ms),
            Move::Finished(index) => {
                twin.finish(&mut door, index.index(twin.running.len() + 1));
            }
            Move::Gone(index) => twin.leave(&mut door, index.index(twin.waiting.len() + 1)),
            Move::Later(ms) => {
                now_ms += ms;
                twin.expire(&mut door, now_ms);
            }
            Move::Redeployed {
                function,
                concurrency_max,
            } => {
                twin.bounds.insert(function, bounds(concurrency_max));
            }
            Move::Bounded {
                owner,
                concurrency_max,
            } => {
                twin.owners.insert(owner, concurrency_max);
            }
            Move::Sweep => {
                door.sweep();
                let idle = |owner: &u64| twin.load_of_owner(*owner) == Load::default();
                let gone: Vec<_> = twin.known.iter().copied().filter(idle).collect();
                twin.known.retain(|owner| !gone.contains(owner));
            }
        }
        twin.pump(&mut door);
        assert_eq!(door.load(), twin.load());
        for function in 0..4 {
            let load = door.load_of(&function);
            assert_eq!(load.running, twin.running_of(function));
            assert_eq!(load.waiting, twin.waiting_of(function));
        }
        for owner in 0..2 {
            assert_eq!(door.load_of_owner(owner), twin.load_of_owner(owner));
        }
        let next = twin.waiting.values().map(|waiter| waiter.until_ms).min();
        assert_eq!(door.next_expiry_ms(), next);
        assert!(door.load().waiting <= overall.waiting_max);
        assert!(door.load().waiting_bytes <= overall.waiting_max_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn bounds_order_and_work_are_kept(
        (running_max, waiting_max, waiting_max_bytes) in (1..6_usize, 0..12_usize, 0..600_u64),
        moves in moves(),
    ) {
        play(Overall { running_max, waiting_max, waiting_max_bytes }, moves);
    }

    /// Whatever the lengths of the lines: between two requests of one function, each other function
    /// that waits is served at most once, and none is passed over.
    #[test]
    fn each_function_that_waits_is_served_once_a_round(
        lines in prop::collection::vec(1..9_usize, 1..7),
    ) {
        let mut door = Admission::new(Overall { running_max: 1, ..ROOMY });
        let bounds = PerFunction { concurrency_max: 9, queue_max: 9, queue_wait_max_ms: 1 };
        prop_assert_eq!(door.arrive(&99, ANN, None, bounds, 0, 0), Arrival::Run);
        for (function, length) in lines.iter().enumerate() {
            for _ in 0..*length {
                let arrival = door.arrive(&function, ANN, None, bounds, 0, 0);
                prop_assert!(matches!(arrival, Arrival::Wait(_)));
            }
        }
        let mut left = lines.clone();
        let mut running = 99;
        while left.iter().any(|left| *left > 0) {
            for function in 0..lines.len() {
                if left[function] > 0 {
                    door.finished(&running, None);
                    let next = door.admit_next().map(|waited| waited.function);
                    prop_assert_eq!(next, Some(function));
                    prop_assert_eq!(door.admit_next(), None);
                    left[function] -= 1;
                    running = function;
                }
            }
        }
        door.finished(&running, None);
        prop_assert_eq!(door.load(), Load::default());
    }
}

#[test]
fn a_function_at_its_own_bound_does_not_hold_up_the_others() {
    let mut door = Admission::new(ROOMY);
    let bounds = PerFunction {
        concurrency_max: 1,
        queue_max: 9,
        queue_wait_max_ms: 2_500,
    };
    assert_eq!(door.arrive(&"slow", ANN, None, bounds, 0, 0), Arrival::Run);
    assert!(matches!(
        door.arrive(&"slow", ANN, None, bounds, 0, 0),
        Arrival::Wait(_)
    ));
    assert_eq!(door.admit_next(), None);
    assert_eq!(door.arrive(&"quick", ANN, None, bounds, 0, 0), Arrival::Run);
}

#[test]
fn a_full_waiting_room_says_when_to_come_back() {
    let mut door = Admission::new(ROOMY);
    let bounds = PerFunction {
        concurrency_max: 1,
        queue_max: 0,
        queue_wait_max_ms: 2_500,
    };
    assert_eq!(door.arrive(&1, ANN, None, bounds, 0, 0), Arrival::Run);
    assert_eq!(
        door.arrive(&1, ANN, None, bounds, 0, 0),
        Arrival::Refuse {
            bound: Bound::Function,
            retry_after_s: 3
        }
    );
    let patient = PerFunction {
        queue_wait_max_ms: u64::MAX,
        ..bounds
    };
    assert_eq!(
        door.arrive(&1, ANN, None, patient, 0, u64::MAX),
        Arrival::Refuse {
            bound: Bound::Function,
            retry_after_s: 60
        }
    );
}

/// The negative control: without the bound on bytes the same arrivals are let in.
#[test]
fn the_bound_on_bytes_is_what_refuses() {
    let bounds = PerFunction {
        concurrency_max: 1,
        queue_max: 9,
        queue_wait_max_ms: 1,
    };
    let last = |waiting_max_bytes| {
        let mut door = Admission::new(Overall {
            waiting_max_bytes,
            ..ROOMY
        });
        door.arrive(&1, ANN, None, bounds, 0, 0);
        door.arrive(&1, ANN, None, bounds, 60, 0);
        door.arrive(&1, ANN, None, bounds, 60, 0)
    };
    assert!(matches!(last(100), Arrival::Refuse { .. }));
    assert!(matches!(last(120), Arrival::Wait(_)));
}

/// Two requests of one key never run at once, and those that wait hold up nobody else.
#[test]
fn a_key_in_use_holds_up_itself_only() {
    let mut door = Admission::new(ROOMY);
    let bounds = PerFunction {
        concurrency_max: 2,
        queue_max: 9,
        queue_wait_max_ms: 1,
    };
    let (ann, bob) = (key(1), key(2));
    assert_eq!(door.arrive(&1, ANN, Some(&ann), bounds, 0, 0), Arrival::Run);
    let Arrival::Wait(second) = door.arrive(&1, ANN, Some(&ann), bounds, 0, 0) else {
        panic!("two of one key run");
    };
    assert_eq!(door.admit_next(), None);
    assert_eq!(door.arrive(&1, ANN, Some(&bob), bounds, 0, 0), Arrival::Run);
    door.finished(&1, Some(&ann));
    let next = door.admit_next().map(|waited| waited.ticket);
    assert_eq!(next, Some(second));
    // The control: without a key nobody waits.
    let mut door = Admission::new(ROOMY);
    for _ in 0..2 {
        assert_eq!(door.arrive(&1, ANN, None, bounds, 0, 0), Arrival::Run);
    }
}

#[test]
fn one_key_has_half_of_the_places_at_most() {
    let mut door = Admission::new(ROOMY);
    let bounds = PerFunction {
        concurrency_max: 9,
        queue_max: 4,
        queue_wait_max_ms: 1,
    };
    let mut ask = |number| door.arrive(&1, ANN, Some(&key(number)), bounds, 0, 0);
    assert_eq!(ask(1), Arrival::Run);
    for _ in 0..2 {
        assert!(matches!(ask(1), Arrival::Wait(_)));
    }
    assert!(matches!(ask(1), Arrival::Refuse { .. }));
    assert_eq!(ask(2), Arrival::Run);
    assert!(matches!(ask(2), Arrival::Wait(_)));
}

/// Whatever the lengths of the lines and however many functions an owner has: between two requests
/// of one owner each other owner that waits is served once.
#[test]
fn each_owner_that_waits_is_served_once_a_round() {
    let mut door = Admission::new(Overall {
        running_max: 1,
        ..ROOMY
    });
    let bounds = PerFunction {
        concurrency_max: 9,
        queue_max: 9,
        queue_wait_max_ms: 1,
    };
    let whose = |owner| PerOwner {
        owner,
        concurrency_max: None,
    };
    assert_eq!(door.arrive(&99, ANN, None, bounds, 0, 0), Arrival::Run);
    // Owner 0 has three functions with three requests each, owners 1 and 2 one with two.
    for (function, owner, requests) in [(1, 0, 3), (2, 0, 3), (3, 0, 3), (4, 1, 2), (5, 2, 2)] {
        for _ in 0..requests {
            let arrival = door.arrive(&function, whose(owner), None, bounds, 0, 0);
            assert!(matches!(arrival, Arrival::Wait(_)));
        }
    }
    let mut served = Vec::new();
    let mut running = 99;
    loop {
        door.finished(&running, None);
        let Some(next) = door.admit_next() else { break };
        served.push(next.function);
        running = next.function;
    }
    assert_eq!(served, [1, 4, 5, 2, 4, 5, 3, 1, 2, 3, 1, 2, 3]);
    assert_eq!(door.load(), Load::default());
}

#[test]
fn an_owner_at_its_bound_waits_and_holds_up_nobody_else() {
    let mut door = Admission::new(ROOMY);
    let bounds = PerFunction {
        concurrency_max: 9,
        queue_max: 1,
        queue_wait_max_ms: 2_500,
    };
    let bound = |concurrency_max| PerOwner {
        owner: 7,
        concurrency_max,
    };
    let mut ask = |function: u8, owner| door.arrive(&function, owner, None, bounds, 0, 0);
    assert_eq!(ask(1, bound(Some(1))), Arrival::Run);
    // Another function of the same owner, and one of another.
    assert!(matches!(ask(2, bound(Some(1))), Arrival::Wait(_)));
    assert_eq!(ask(3, ANN), Arrival::Run);
    let refused = Arrival::Refuse {
        bound: Bound::Owner,
        retry_after_s: 3,
    };
    assert_eq!(ask(2, bound(Some(1))), refused);
    // The control: where the bound is lifted it runs, behind the one that waits already.
    let Arrival::Wait(_) = ask(4, bound(Some(3))) else {
        panic!("it passed the one that waits");
    };
    assert_eq!(door.admit_next().map(|waited| waited.function), Some(2));
    assert_eq!(door.admit_next().map(|waited| waited.function), Some(4));
    assert_eq!(door.admit_next(), None);
}

#[test]
fn one_owner_of_several_has_half_of_the_waiting_room_at_most() {
    let bounds = PerFunction {
        concurrency_max: 1,
        queue_max: 99,
        queue_wait_max_ms: 1,
    };
    let other = PerOwner {
        owner: 1,
        concurrency_max: None,
    };
    let waiting = |with_other: bool| {
        let mut door = Admission::new(Overall {
            waiting_max: 10,
            ..ROOMY
        });
        if with_other {
            assert_eq!(door.arrive(&9, other, None, bounds, 0, 0), Arrival::Run);
        }
        for _ in 0..50 {
            door.arrive(&1, ANN, None, bounds, 0, 0);
        }
        door.load_of_owner(ANN.owner).waiting
    };
    assert_eq!((waiting(false), waiting(true)), (10, 5));
}

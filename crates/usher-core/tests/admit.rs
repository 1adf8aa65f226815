//! Admission against a naive twin, and the promise that nobody starves.

use std::collections::BTreeMap;

use proptest::prelude::*;
use usher_core::admit::{Admission, Arrival, Load, Overall, PerFunction, Ticket, Waited};

const ROOMY: Overall = Overall {
    running_max: 1_000,
    waiting_max: 1_000,
    waiting_max_bytes: 1 << 20,
};

#[derive(Clone, Copy, Debug)]
enum Move {
    Arrive { function: u8, bytes: u64 },
    Finished(u8),
    Gone(prop::sample::Index),
    Later(u64),
    Redeployed { function: u8, concurrency_max: u32 },
    Sweep,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        8 => (0..4_u8, 0..100_u64).prop_map(|(function, bytes)| Move::Arrive { function, bytes }),
        5 => (0..4_u8).prop_map(Move::Finished),
        1 => any::<prop::sample::Index>().prop_map(Move::Gone),
        1 => (0..60_u64).prop_map(Move::Later),
        1 => (0..4_u8, 1..4_u32).prop_map(|(function, concurrency_max)| Move::Redeployed {
            function,
            concurrency_max,
        }),
        1 => Just(Move::Sweep),
    ];
    prop::collection::vec(one, 0..300)
}

struct Waiter {
    function: u8,
    bytes: u64,
    until_ms: u64,
}

/// Everything in plain sight.
struct Twin {
    overall: Overall,
    bounds: BTreeMap<u8, PerFunction>,
    /// What the function's latest arrival brought: it holds from then on.
    concurrency: BTreeMap<u8, usize>,
    running: BTreeMap<u8, usize>,
    waiting: BTreeMap<Ticket, Waiter>,
}

impl Twin {
    fn running_of(&self, function: u8) -> usize {
        self.running.get(&function).copied().unwrap_or(0)
    }

    fn load(&self) -> Load {
        Load {
            running: self.running.values().sum(),
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

    fn room(&self, function: u8) -> bool {
        self.load().running < self.overall.running_max
            && self.running_of(function) < self.concurrency[&function]
    }

    fn arrive(&mut self, door: &mut Admission<u8>, function: u8, bytes: u64, now_ms: u64) {
        let bounds = self.bounds[&function];
        self.concurrency
            .insert(function, bounds.concurrency_max as usize);
        let load = self.load();
        let full = self.waiting_of(function) >= bounds.queue_max as usize
            || load.waiting >= self.overall.waiting_max
            || load.waiting_bytes + bytes > self.overall.waiting_max_bytes;
        let runs = self.waiting_of(function) == 0 && self.room(function);
        match door.arrive(&function, bounds, bytes, now_ms) {
            Arrival::Run => {
                assert!(runs, "it runs where there is no room");
                *self.running.entry(function).or_default() += 1;
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
                        bytes,
                        until_ms,
                    },
                );
            }
            Arrival::Refuse { retry_after_s } => {
                assert!(!runs && full, "sent away for no reason");
                assert!((1..=60).contains(&retry_after_s));
            }
        }
    }

    fn pump(&mut self, door: &mut Admission<u8>) {
        while let Some(Waited { function, ticket }) = door.admit_next() {
            assert!(self.room(function), "a bound was exceeded");
            let first = self
                .waiting
                .iter()
                .find(|(_, waiter)| waiter.function == function);
            assert_eq!(
                first.map(|(ticket, _)| *ticket),
                Some(ticket),
                "not first come first served"
            );
            self.waiting.remove(&ticket);
            *self.running.entry(function).or_default() += 1;
        }
        for waiter in self.waiting.values() {
            assert!(!self.room(waiter.function), "one waits who could run");
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
        running: BTreeMap::new(),
        waiting: BTreeMap::new(),
    };
    let mut now_ms = 0;
    for one in moves {
        match one {
            Move::Arrive { function, bytes } => {
                twin.arrive(&mut door, function, bytes, now_ms);
            }
            Move::Finished(function) => {
                // One too many changes nothing.
                door.finished(&function);
                if let Some(running) = twin.running.get_mut(&function) {
                    *running = running.saturating_sub(1);
                }
            }
            Move::Gone(index) => {
                let at = index.index(twin.waiting.len() + 1);
                let ticket = twin.waiting.keys().nth(at).copied();
                if let Some((ticket, waiter)) =
                    ticket.and_then(|ticket| twin.waiting.remove_entry(&ticket))
                {
                    assert!(door.gone(&waiter.function, ticket));
                    assert!(!door.gone(&waiter.function, ticket), "it went away twice");
                }
            }
            Move::Later(ms) => {
                now_ms += ms;
                while let Some(Waited { function, ticket }) = door.expired(now_ms) {
                    let waiter = twin.waiting.remove(&ticket).expect("it waited");
                    assert_eq!(waiter.function, function);
                    assert!(waiter.until_ms <= now_ms, "sent away too early");
                }
            }
            Move::Redeployed {
                function,
                concurrency_max,
            } => {
                twin.bounds.insert(function, bounds(concurrency_max));
            }
            Move::Sweep => door.sweep(),
        }
        twin.pump(&mut door);
        assert_eq!(door.load(), twin.load());
        for function in 0..4 {
            let load = door.load_of(&function);
            assert_eq!(load.running, twin.running_of(function));
            assert_eq!(load.waiting, twin.waiting_of(function));
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
        prop_assert_eq!(door.arrive(&99, bounds, 0, 0), Arrival::Run);
        for (function, length) in lines.iter().enumerate() {
            for _ in 0..*length {
                prop_assert!(matches!(door.arrive(&function, bounds, 0, 0), Arrival::Wait(_)));
            }
        }
        let mut left = lines.clone();
        let mut running = 99;
        while left.iter().any(|left| *left > 0) {
            for function in 0..lines.len() {
                if left[function] > 0 {
                    door.finished(&running);
                    let next = door.admit_next().map(|waited| waited.function);
                    prop_assert_eq!(next, Some(function));
                    prop_assert_eq!(door.admit_next(), None);
                    left[function] -= 1;
                    running = function;
                }
            }
        }
        door.finished(&running);
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
    assert_eq!(door.arrive(&"slow", bounds, 0, 0), Arrival::Run);
    assert!(matches!(
        door.arrive(&"slow", bounds, 0, 0),
        Arrival::Wait(_)
    ));
    assert_eq!(door.admit_next(), None);
    assert_eq!(door.arrive(&"quick", bounds, 0, 0), Arrival::Run);
}

#[test]
fn a_full_waiting_room_says_when_to_come_back() {
    let mut door = Admission::new(ROOMY);
    let bounds = PerFunction {
        concurrency_max: 1,
        queue_max: 0,
        queue_wait_max_ms: 2_500,
    };
    assert_eq!(door.arrive(&1, bounds, 0, 0), Arrival::Run);
    assert_eq!(
        door.arrive(&1, bounds, 0, 0),
        Arrival::Refuse { retry_after_s: 3 }
    );
    let patient = PerFunction {
        queue_wait_max_ms: u64::MAX,
        ..bounds
    };
    assert_eq!(
        door.arrive(&1, patient, 0, u64::MAX),
        Arrival::Refuse { retry_after_s: 60 }
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
        door.arrive(&1, bounds, 0, 0);
        door.arrive(&1, bounds, 60, 0);
        door.arrive(&1, bounds, 60, 0)
    };
    assert!(matches!(last(100), Arrival::Refuse { .. }));
    assert!(matches!(last(120), Arrival::Wait(_)));
}

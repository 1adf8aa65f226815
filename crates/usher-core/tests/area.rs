//! The ledger of areas against naive twins that hold the areas' bytes themselves.

use std::collections::HashMap;

use proptest::prelude::*;
use usher_core::area::{
    AreaState, Determination, NotThisArea, Owner, Pair, Side, Slots, determine,
};
use usher_core::id::{AreaId, Digest, EnvironmentId, Generation, RevisionId};

fn owner(environment: u64) -> Owner {
    Owner {
        environment: EnvironmentId(environment),
        revision: RevisionId(Digest([7; 32])),
    }
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Run,
    Swap,
    Scrub(Side),
    Scrubbed(Side),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let side = || prop_oneof![Just(Side::Left), Just(Side::Right)];
    let one = prop_oneof![
        2 => Just(Move::Run),
        3 => Just(Move::Swap),
        2 => side().prop_map(Move::Scrub),
        2 => side().prop_map(Move::Scrubbed),
    ];
    prop::collection::vec(one, 0..200)
}

/// Two areas with their contents: true where a run's bytes are.
#[derive(Default)]
struct Twin {
    dirty: [bool; 2],
    scrubbing: [bool; 2],
    uses: [u64; 2],
    current: usize,
    last_run: Option<(usize, u64)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_swap_leads_to_another_area_that_holds_the_image(moves in moves()) {
        let ids = [AreaId(10), AreaId(11)];
        let mut pair = Pair::new(owner(1), ids);
        let mut twin = Twin { uses: [1, 0], ..Twin::default() };
        let mut ran = false;
        for one in moves {
            match one {
                Move::Run if !ran => {
                    let here = (pair.side().index(), pair.current().generation.0);
                    prop_assert!(!twin.dirty[here.0], "a run began in a used area");
                    prop_assert_ne!(twin.last_run.map(|(area, _)| area), Some(here.0));
                    twin.dirty[here.0] = true;
                    twin.last_run = Some(here);
                    ran = true;
                }
                Move::Run => {}
                Move::Swap => {
                    let next = 1 - twin.current;
                    // An area that was left is scrubbed before it is used again, run or no run.
                    let clean = pair.state(side(next)) == AreaState::Clean;
                    let swapped = pair.swap();
                    prop_assert_eq!(swapped.is_ok(), clean);
                    if swapped.is_ok() {
                        prop_assert!(!twin.dirty[next], "an unscrubbed area became current");
                        twin.uses[next] += 1;
                        twin.current = next;
                        ran = false;
                        if twin.last_run.is_some_and(|(area, _)| area == next) {
                            // The area between was left without a run.
                            twin.last_run = None;
                        }
                    } else {
                        prop_assert_eq!(pair.current().generation.0, twin.uses[twin.current]);
                    }
                }
                Move::Scrub(which) => {
                    let legal = pair.state(which) == AreaState::Used;
                    prop_assert_eq!(pair.scrub(which).is_ok(), legal);
                    if legal {
                        prop_assert_ne!(which.index(), twin.current, "the run's area is scrubbed");
                        twin.scrubbing[which.index()] = true;
                    }
                }
                Move::Scrubbed(which) => {
                    let at = which.index();
                    prop_assert_eq!(pair.scrubbed(which).is_ok(), twin.scrubbing[at]);
                    if std::mem::take(&mut twin.scrubbing[at]) {
                        twin.dirty[at] = false;
                    }
                }
            }
            let current = pair.current();
            prop_assert_eq!(pair.side().index(), twin.current);
            prop_assert_eq!(pair.state(pair.side()), AreaState::Current);
            prop_assert_eq!(current.area, ids[twin.current]);
            prop_assert_eq!(current.generation, Generation(twin.uses[twin.current]));
        }
    }

    #[test]
    fn no_place_has_two_owners(
        moves in prop::collection::vec((any::<bool>(), 0..6_u64, 0..8_u64), 0..300),
    ) {
        let mut slots = Slots::new();
        let mut twin: HashMap<u64, u64> = HashMap::new();
        let mut uses: HashMap<u64, (AreaId, u64)> = HashMap::new();
        let mut minted = 0;
        for (take, base, environment) in moves {
            if take {
                let taken = slots.take(base, owner(environment), || {
                    minted += 1;
                    AreaId(minted)
                });
                if let Some(&holder) = twin.get(&base) {
                    let refused = taken.expect_err("a taken place was given to a second one");
                    prop_assert_eq!(refused.owner, owner(holder));
                } else {
                    let taken = taken.expect("the place was free");
                    let seen = uses.entry(base).or_insert((taken.area, 0));
                    seen.1 += 1;
                    prop_assert_eq!((taken.area, taken.generation), (seen.0, Generation(seen.1)));
                    twin.insert(base, environment);
                }
            } else {
                let released = slots.release(base, owner(environment));
                let legal = twin.get(&base) == Some(&environment);
                prop_assert_eq!(released.is_ok(), legal);
                if legal {
                    twin.remove(&base);
                }
            }
            prop_assert_eq!(slots.owner(base), twin.get(&base).map(|holder| owner(*holder)));
        }
        let mut ids: Vec<AreaId> = uses.values().map(|seen| seen.0).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), uses.len(), "two places share an id");
    }

    #[test]
    fn only_the_very_same_pointers_pass(
        expected in prop::collection::vec(0..4_u64, 0..4),
        read in prop::collection::vec(0..4_u64, 0..4),
        (one, other) in (0..2_u64, 0..2_u64),
    ) {
        let passed = determine(
            Determination { area: AreaId(one), bases: &expected },
            Determination { area: AreaId(other), bases: &read },
        );
        let same = one == other && expected == read && !expected.contains(&0);
        prop_assert_eq!(passed.is_ok(), same);
    }
}

fn side(index: usize) -> Side {
    if index == 0 { Side::Left } else { Side::Right }
}

#[test]
fn a_swap_is_refused_until_the_other_area_is_scrubbed() {
    let mut pair = Pair::new(owner(1), [AreaId(1), AreaId(2)]);
    assert_eq!(pair.swap(), Ok(Side::Right));
    let refused = pair.swap().expect_err("the left area is used");
    assert_eq!((refused.area, refused.state), (AreaId(1), AreaState::Used));
    pair.scrub(Side::Left).expect("it is used");
    assert_eq!(
        pair.swap().expect_err("not done").state,
        AreaState::Scrubbing
    );
    pair.scrubbed(Side::Left).expect("it was being scrubbed");
    assert_eq!(pair.swap(), Ok(Side::Left));
    assert_eq!(pair.current().generation, Generation(2));
    assert_eq!(pair.owner(), owner(1));
}

/// The negative control of the determination: ids and counters advance, the pointer does not.
#[test]
fn ids_that_advance_without_the_pointer_do_not_pass() {
    let bases = [[0x1000_u64, 0x2000], [0x9000, 0xa000]];
    let mut pair = Pair::new(owner(1), [AreaId(1), AreaId(2)]);
    let stuck = pair.side().index();
    pair.swap().expect("the other area is clean");
    let expected = Determination {
        area: pair.current().area,
        bases: &bases[pair.side().index()],
    };
    let read = Determination {
        area: pair.current().area,
        bases: &bases[stuck],
    };
    assert_eq!(
        determine(expected, read),
        Err(NotThisArea::Base {
            memory: 0,
            expected: 0x9000,
            read: 0x1000
        })
    );
    let half = Determination {
        area: pair.current().area,
        bases: &[0x9000, 0x2000],
    };
    assert!(matches!(
        determine(expected, half),
        Err(NotThisArea::Base { memory: 1, .. })
    ));
}

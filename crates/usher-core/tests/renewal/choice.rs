//! The choice between two ways, against figures that are known beforehand.

use proptest::prelude::*;
use usher_core::renewal::choice::{Choice, LEARNT, RETRIED_EVERY, Way};

/// Put-backs after which a change of costs must have been noticed: the dearer way is tried once in
/// so many, and a few figures move its mean.
const NOTICED_AFTER: u32 = 16 * (RETRIED_EVERY + 1);

fn cost(way: Way, in_place: u64, swap: u64) -> u64 {
    match way {
        Way::InPlace => in_place,
        Way::Swap => swap,
    }
}

/// How often each way is gone in so many put-backs, in place first.
fn run(choice: &mut Choice, times: u32, cost_of: impl Fn(Way) -> u64) -> [u32; 2] {
    let mut gone = [0; 2];
    for _ in 0..times {
        let way = choice.next();
        gone[usize::from(way == Way::Swap)] += 1;
        choice.tell(way, way, cost_of(way));
    }
    gone
}

proptest! {
    #[test]
    fn both_are_tried_in_turns_and_then_the_cheaper_one_is_taken(
        in_place in 0..u64::MAX,
        swap in 0..u64::MAX,
        times in 0..4_000_u32,
    ) {
        let mut choice = Choice::default();
        for round in 0..2 * LEARNT {
            let way = choice.next();
            prop_assert_eq!(way == Way::Swap, round % 2 == 1, "round {}", round);
            choice.tell(way, way, cost(way, in_place, swap));
        }
        let [of_place, of_swap] = run(&mut choice, times, |way| cost(way, in_place, swap));
        // Means are whole numbers: within a few nanoseconds the two are the same.
        if in_place.abs_diff(swap) > 8 {
            let dearer = if swap < in_place { of_place } else { of_swap };
            prop_assert!(dearer <= times / RETRIED_EVERY + 1, "{} of {}", dearer, times);
            prop_assert!(dearer >= times / (RETRIED_EVERY + 1));
        }
    }

    #[test]
    fn a_change_of_costs_is_noticed(
        cheap in 1_000..100_000_u64,
        dear in 200_000..1_000_000_u64,
        swap_first: bool,
    ) {
        let mut choice = Choice::default();
        let costs = |turned: bool| if turned { (dear, cheap) } else { (cheap, dear) };
        for turned in [swap_first, !swap_first] {
            let (in_place, swap) = costs(turned);
            run(&mut choice, NOTICED_AFTER, |way| cost(way, in_place, swap));
            let expected = if turned { Way::Swap } else { Way::InPlace };
            prop_assert_eq!(choice.cheaper(), expected);
        }
    }
}

#[test]
fn what_cannot_be_gone_is_not_waited_for() {
    let mut choice = Choice::default();
    let mut asked = 0;
    for _ in 0..1_000 {
        asked += u32::from(choice.next() == Way::Swap);
        choice.tell(choice.next(), Way::InPlace, 7);
    }
    assert_eq!(choice.cheaper(), Way::InPlace);
    assert!(asked <= LEARNT + 1_000 / RETRIED_EVERY, "{asked}");
}

//! Pages that get new frames, against a twin of their bytes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use usher_core::renewal::warm::{TURNS, Warm};

const PAGES: u64 = 100;

fn rounds() -> impl Strategy<Value = Vec<BTreeSet<u64>>> {
    let round = prop::collection::btree_set(0..PAGES, 0..40);
    prop::collection::vec(round, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever a run has written gets a new frame; what it has not is given up within the turns.
    #[test]
    fn what_is_written_is_renewed_and_what_is_not_is_given_up(rounds in rounds()) {
        let mut warm = Warm::new(usize::try_from(PAGES).expect("a few"));
        // Pages that look written, and the round in which they were written last.
        let mut own: BTreeMap<u64, u64> = BTreeMap::new();
        for (round, written) in (1_u64..).zip(rounds) {
            for page in &written {
                own.insert(*page, round);
            }
            warm.begin();
            for page in own.keys().copied().collect::<Vec<_>>() {
                let changed = written.contains(&page);
                if warm.is_due(page) && !changed {
                    warm.left(page);
                    own.remove(&page);
                } else {
                    warm.renewed(page);
                    let since = round - own[&page];
                    prop_assert!(since < TURNS, "page {} is kept warm for {}", page, since);
                }
            }
            prop_assert_eq!(warm.count(), own.len());
            prop_assert!(written.iter().all(|page| own.contains_key(page)));
        }
    }
}

#[test]
fn a_page_is_looked_at_after_its_first_sighting_and_then_seldom() {
    let mut warm = Warm::new(1);
    let mut looks = Vec::new();
    for round in 1..=2 * TURNS {
        warm.begin();
        if warm.is_due(0) {
            looks.push(round);
        }
        warm.renewed(0);
    }
    assert_eq!(looks, [2, TURNS, 2 * TURNS]);
}

#[test]
fn what_is_too_much_to_know_is_forgotten() {
    let mut warm = Warm::new(3);
    warm.begin();
    for page in 0..5 {
        warm.renewed(page);
    }
    warm.begin();
    assert!(warm.count() == 0 && !warm.is_due(0));
}

/// One that is written with the bytes that it had is found out by giving it up, once.
#[test]
fn a_page_that_is_written_and_looks_clean_is_given_up_seldom() {
    let mut warm = Warm::new(1);
    let mut left = Vec::new();
    for round in 1..=2 * TURNS {
        warm.begin();
        if warm.is_due(0) {
            left.push(round);
            warm.left(0);
        } else {
            warm.renewed(0);
        }
    }
    assert_eq!(left, [2, TURNS, 2 * TURNS]);
}

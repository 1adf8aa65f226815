//! The hot set, against a twin of a program's pages that are private or not.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use usher_core::renewal::hot::{Hot, TURNS, Then};

const PAGES: usize = 100;

fn rounds() -> impl Strategy<Value = Vec<BTreeSet<usize>>> {
    let round = prop::collection::btree_set(0..PAGES, 0..40);
    prop::collection::vec(round, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn pages_are_private_only_while_they_are_hot(rounds in rounds(), hot_max in 0..60_usize) {
        let mut hot = Hot::new(PAGES, hot_max);
        // The pages that a scan would find before a run, and the round since which they are.
        let mut private: BTreeMap<usize, u64> = BTreeMap::new();
        let mut sightings: BTreeMap<usize, u32> = BTreeMap::new();
        for (round, written) in (1_u64..).zip(rounds) {
            hot.begin();
            let found: BTreeSet<_> = private.keys().chain(&written).copied().collect();
            for page in found {
                let was_private = private.contains_key(&page);
                *sightings.entry(page).or_default() += 1;
                match hot.changed(page) {
                    Then::Copy => {
                        prop_assert!(sightings[&page] >= 2, "copied at its first sighting");
                        let since = *private.entry(page).or_insert(round);
                        prop_assert!(round - since < TURNS, "page {} was never dropped", page);
                    }
                    Then::Drop => {
                        private.remove(&page);
                        let full = private.len() >= hot_max;
                        let first = sightings[&page] == 1;
                        prop_assert!(was_private || first || full, "page {} was seen often", page);
                    }
                }
                prop_assert!(private.len() <= hot_max);
            }
            prop_assert_eq!(hot.hot(), private.len());
        }
    }
}

#[test]
fn a_page_that_is_not_changed_any_more_becomes_cold() {
    let mut hot = Hot::new(1, 1);
    let answers: Vec<_> = (0..2)
        .map(|_| {
            hot.begin();
            hot.changed(0)
        })
        .collect();
    assert_eq!(answers, [Then::Drop, Then::Copy]);
    // It stays private, so it looks changed in each round; its turn comes all the same.
    let mut copies = 0;
    while hot.changed(0) == Then::Copy {
        copies += 1;
        hot.begin();
        assert!(copies <= TURNS);
    }
    assert_eq!(hot.hot(), 0);
    // One that is still changed is copied again at once.
    hot.begin();
    assert_eq!(hot.changed(0), Then::Copy);
}

#[test]
fn numbers_out_of_range_are_dropped() {
    let mut hot = Hot::new(4, 4);
    assert_eq!(hot.changed(4), Then::Drop);
    hot.pin(4);
    assert_eq!(hot.changed(4), Then::Drop);
    assert_eq!(hot.hot(), 0);
}

#[test]
fn a_pinned_page_is_never_dropped_and_takes_no_room() {
    let mut hot = Hot::new(2, 1);
    hot.begin();
    assert_eq!(hot.changed(0), Then::Drop);
    assert_eq!(hot.changed(0), Then::Copy);
    // There is room for one only.
    assert_eq!(hot.changed(1), Then::Drop);
    assert_eq!(hot.changed(1), Then::Drop);
    hot.pin(0);
    assert_eq!(hot.hot(), 0);
    assert_eq!(hot.changed(1), Then::Copy);
    for _ in 0..2 * TURNS {
        hot.begin();
        assert_eq!(hot.changed(0), Then::Copy);
    }
}

//! Spans, against sets of single addresses.

use std::collections::BTreeSet;

use proptest::prelude::*;
use usher_core::renewal::runs::{Span, covered, cut, merged};

const TOP: u64 = 200;

/// Sorted spans that do not overlap, but may touch.
fn spans() -> impl Strategy<Value = Vec<Span>> {
    prop::collection::btree_set(0..TOP, 0..24).prop_map(|borders| {
        let borders: Vec<_> = borders.into_iter().collect();
        let pairs = borders.chunks_exact(2);
        pairs.map(|pair| Span::new(pair[0], pair[1])).collect()
    })
}

fn addresses(spans: &[Span]) -> BTreeSet<u64> {
    spans.iter().flat_map(|span| span.start..span.end).collect()
}

/// All of `set`, and what lies between two of its addresses if that is no more than `gap`.
fn filled(set: &BTreeSet<u64>, gap: u64) -> BTreeSet<u64> {
    let mut all = set.clone();
    let pairs = set.iter().zip(set.iter().skip(1));
    for (one, next) in pairs.filter(|(one, next)| *next - *one - 1 <= gap) {
        all.extend(*one..*next);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn merging_fills_small_gaps_and_nothing_else(spans in spans(), gap in 0..12_u64) {
        let merged = merged(spans.iter().copied(), gap);
        prop_assert_eq!(addresses(&merged), filled(&addresses(&spans), gap));
        for pair in merged.windows(2) {
            prop_assert!(pair[1].start - pair[0].end > gap, "a gap was left open");
        }
    }

    #[test]
    fn a_mapping_is_covered_where_it_is_used(
        used in spans(), from in 0..TOP, len in 1..TOP, gap in 0..12_u64,
    ) {
        let within = Span::new(from, from + len);
        let covered = covered(within, &used, gap);
        let inside: BTreeSet<_> = addresses(&used)
            .into_iter()
            .filter(|at| (within.start..within.end).contains(at))
            .collect();
        let mut twin = filled(&inside, gap);
        if let (Some(first), Some(last)) = (inside.first(), inside.last()) {
            if first - within.start <= gap {
                twin.extend(within.start..*first);
            }
            if within.end - 1 - last <= gap {
                twin.extend(*last..within.end);
            }
        }
        prop_assert_eq!(addresses(&covered), twin);
    }

    #[test]
    fn cutting_loses_nothing_and_names_the_region(runs in spans(), regions in spans()) {
        let mut pieces = Vec::new();
        cut(&runs, &regions, |piece, region| pieces.push((piece, region)));
        let all: Vec<_> = pieces.iter().map(|(piece, _)| *piece).collect();
        prop_assert_eq!(addresses(&all), addresses(&runs));
        prop_assert_eq!(all.iter().map(Span::len).sum::<u64>(), addresses(&runs).len() as u64);
        for (piece, region) in pieces {
            prop_assert!(!piece.is_empty());
            for at in piece.start..piece.end {
                let twin = regions.iter().position(|one| (one.start..one.end).contains(&at));
                prop_assert_eq!(region, twin);
            }
        }
    }
}

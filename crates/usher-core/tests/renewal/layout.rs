//! Repairs of a layout, against address spaces that are lists of single pages.

use std::collections::BTreeMap;

use proptest::prelude::*;
use usher_core::renewal::layout::{Access, Backing, Mapping, Repair, repairs};
use usher_core::renewal::runs::Span;

const TOP: u64 = 60;

/// What can be said of one page.
type Page = (Access, Backing);
type Pages = BTreeMap<u64, Page>;

fn mappings() -> impl Strategy<Value = Vec<Mapping>> {
    let one = (0..4_u64, 1..6_u64, any::<bool>(), 0..3_u64, 0..3_u64);
    prop::collection::vec(one, 0..12).prop_map(|parts| {
        let mut at = 0;
        let mut mappings = Vec::new();
        for (gap, len, write, inode, offset) in parts {
            let span = Span::new(at + gap, at + gap + len);
            at = span.end;
            let device = inode.min(1);
            let offset = offset * device;
            let access = Access {
                read: true,
                write,
                execute: false,
            };
            let backing = Backing {
                device,
                inode,
                offset,
                shared: false,
            };
            mappings.push(Mapping {
                span,
                access,
                backing,
            });
        }
        mappings
    })
}

fn pages(mappings: &[Mapping]) -> Pages {
    let mut pages = Pages::new();
    for mapping in mappings {
        put(&mut pages, mapping);
    }
    pages
}

fn put(pages: &mut Pages, mapping: &Mapping) {
    for at in mapping.span.start..mapping.span.end {
        let backing = mapping.backing.advanced(at - mapping.span.start);
        pages.insert(at, (mapping.access, backing));
    }
}

/// Carries the repairs out, and notes which pages were taken away or protected.
fn repaired(mut pages: Pages, repairs: &[Repair]) -> (Pages, Vec<u64>) {
    let mut touched = Vec::new();
    for repair in repairs {
        match repair {
            Repair::Unmap(span) => {
                touched.extend(span.start..span.end);
                pages.retain(|at, _| !(span.start..span.end).contains(at));
            }
            Repair::Map(mapping) => {
                let mut there = mapping.span.start..mapping.span.end;
                assert!(
                    there.all(|at| !pages.contains_key(&at)),
                    "mapped over something"
                );
                touched.extend(mapping.span.start..mapping.span.end);
                put(&mut pages, mapping);
            }
            Repair::Protect(span, access) => {
                touched.extend(span.start..span.end);
                for at in span.start..span.end {
                    pages.get_mut(&at).expect("protected what is not there").0 = *access;
                }
            }
        }
    }
    (pages, touched)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn repairs_make_the_layouts_equal_and_touch_nothing_else(
        recorded in mappings(), now in mappings(),
    ) {
        let steps = repairs(&recorded, &now);
        let (before, wanted) = (pages(&now), pages(&recorded));
        let (after, touched) = repaired(before.clone(), &steps);
        prop_assert_eq!(&after, &wanted);
        for at in touched {
            prop_assert!(before.get(&at) != wanted.get(&at), "page {} was right", at);
        }
    }

    #[test]
    fn where_a_border_is_does_not_matter(
        recorded in mappings(), cuts in prop::collection::vec(0..TOP, 0..8),
    ) {
        let mut now = Vec::new();
        for mapping in &recorded {
            let mut rest = *mapping;
            let mut inside: Vec<_> = cuts
                .iter()
                .copied()
                .filter(|cut| mapping.span.start < *cut && *cut < mapping.span.end)
                .collect();
            inside.sort_unstable();
            inside.dedup();
            for cut in inside {
                now.push(rest.part(Span::new(rest.span.start, cut)));
                rest = rest.part(Span::new(cut, rest.span.end));
            }
            now.push(rest);
        }
        prop_assert_eq!(repairs(&recorded, &now), vec![]);
        prop_assert_eq!(repairs(&now, &recorded), vec![]);
    }
}

#[test]
fn a_page_of_the_same_file_at_another_place_of_it_is_another_page() {
    let mapping = |offset| Mapping {
        span: Span::new(0x1000, 0x3000),
        access: Access::default(),
        backing: Backing {
            device: 7,
            inode: 8,
            offset,
            shared: false,
        },
    };
    let span = Span::new(0x1000, 0x3000);
    assert_eq!(
        repairs(&[mapping(0)], &[mapping(0x1000)]),
        [Repair::Unmap(span), Repair::Map(mapping(0))]
    );
}

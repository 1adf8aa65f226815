//! Splits of traffic and how people write them: tables, and properties against a naive twin.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use usher_core::id::{Digest, RevisionId};
use usher_core::key::Key;
use usher_core::traffic::wanted::{self, NoRevision, NotSplit, Revision, Wanted};
use usher_core::traffic::{
    Alias, BadAlias, BadSplit, LIVE, Point, SHARES_MAX, Share, Split, TOTALS,
};

fn share((revision, weight): (u64, u32)) -> Share {
    Share { revision, weight }
}

fn split(shares: &[(u64, u32)]) -> Result<Split, BadSplit> {
    Split::new(shares.iter().copied().map(share).collect())
}

fn id(first: u8) -> RevisionId {
    let mut digest = [0x77; 32];
    digest[0] = first;
    RevisionId(Digest(digest))
}

#[test]
fn what_is_a_split_and_what_is_not() {
    for good in [
        &[(3, 100)][..],
        &[(3, 10), (2, 90)],
        &[(1, 1), (2, 999)],
        &[(1, 1), (2, 9_999)],
    ] {
        let made = split(good).unwrap();
        assert!(made.shares().is_sorted_by_key(|share| share.revision));
        assert_eq!(made.shares().len(), good.len());
    }
    let many: Vec<_> = (0..=SHARES_MAX as u64).map(|at| (at, 1)).collect();
    for (bad, why) in [
        (&[][..], BadSplit::Nobody),
        (&many, BadSplit::TooMany { count: 9 }),
        (&[(3, 50), (3, 50)], BadSplit::Twice { revision: 3 }),
        (&[(3, 100), (2, 0)], BadSplit::Nothing { revision: 2 }),
        (&[(3, 10), (2, 80)], BadSplit::Sum { sum: 90 }),
        (
            &[(3, u32::MAX), (2, u32::MAX)],
            BadSplit::Sum { sum: 8_589_934_590 },
        ),
    ] {
        assert_eq!(split(bad), Err(why));
    }
    // What a record is read by: one that was tampered with is refused.
    assert!(Split::try_from(vec![share((1, 50))]).is_err());
}

#[test]
fn the_main_revision_is_the_largest_and_of_equal_ones_the_newest() {
    assert_eq!(split(&[(1, 90), (2, 10)]).unwrap().main(), 1);
    assert_eq!(split(&[(1, 50), (2, 50)]).unwrap().main(), 2);
    assert_eq!(Split::whole(7).main(), 7);
    assert_eq!(Split::whole(7).only(), Some(7));
}

/// As many slips as there are parts, in the order of the shares.
fn slips(split: &Split) -> Vec<usize> {
    let shares = split.shares().iter().enumerate();
    shares
        .flat_map(|(at, share)| std::iter::repeat_n(at, share.weight as usize))
        .collect()
}

fn any_split() -> impl Strategy<Value = Split> {
    let weights = prop::collection::vec(1_u32..40, 1..=SHARES_MAX);
    (weights, 0..TOTALS.len(), 1_u64..50).prop_map(|(weights, total, first)| {
        let total = TOTALS[total];
        let sum: u32 = weights.iter().sum();
        let mut shares: Vec<_> = (first..)
            .zip(weights)
            .map(|(revision, weight)| (revision, (weight * total / sum).max(1)))
            .collect();
        // What rounding left goes to the largest.
        let sum: u32 = shares.iter().map(|(_, weight)| weight).sum();
        let largest = shares.iter_mut().max_by_key(|(_, weight)| *weight).unwrap();
        largest.1 = largest.1 + total - sum;
        split(&shares).unwrap()
    })
}

proptest! {
    /// Points at even distances fall as often on a revision as its parts say, exactly.
    #[test]
    fn every_revision_gets_its_share(split in any_split()) {
        let slips = slips(&split);
        let step = u64::MAX / slips.len() as u64;
        for (at, slip) in (0_u64..).zip(&slips) {
            prop_assert_eq!(split.pick(Point::random(at * step + step / 2)), *slip);
        }
        prop_assert_eq!(split.pick(Point::random(0)), 0);
        prop_assert_eq!(split.pick(Point::random(u64::MAX)), split.shares().len() - 1);
    }

    /// Where a border between two revisions moves, only what lies between changes its revision.
    #[test]
    fn a_border_that_moves_changes_nothing_beside(
        old in 1_u32..100,
        new in 1_u32..100,
        number: u64,
    ) {
        let (before, after) = (
            split(&[(1, old), (2, 100 - old)]).unwrap(),
            split(&[(1, new), (2, 100 - new)]).unwrap(),
        );
        let point = Point::random(number);
        let percent = (u128::from(number) * 100) >> 64;
        let between = (old.min(new).into()..old.max(new).into()).contains(&percent);
        prop_assert_eq!(before.pick(point) != after.pick(point), between);
    }

    #[test]
    fn a_key_stays_where_it_is(split in any_split(), key in "[ -~]{1,40}") {
        let key = Key::one_of([key.as_bytes()]).unwrap();
        let again = Key::one_of([key.bytes()]).unwrap();
        prop_assert_eq!(split.pick(Point::of_key(&key)), split.pick(Point::of_key(&again)));
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,80}") {
        let _ = text.parse::<Wanted>();
        let _ = text.parse::<Alias>();
        if let Ok(revision) = text.parse::<Revision>() {
            let again = revision.to_string().parse::<Revision>();
            prop_assert_eq!(again, Ok(revision));
        }
    }
}

/// Keys that differ in one digit are spread as chance would: the bound is five deviations.
#[test]
fn keys_are_spread_like_chance() {
    let split = split(&[(1, 90), (2, 10)]).unwrap();
    let count = 10_000;
    let few = (0..count).filter(|number| {
        let key = Key::one_of([format!("tenant{number}").as_bytes()]).unwrap();
        split.pick(Point::of_key(&key)) == 1
    });
    let (count, few) = (
        f64::from(count),
        f64::from(u32::try_from(few.count()).unwrap()),
    );
    let deviation = (count * 0.1 * 0.9).sqrt();
    assert!(
        (few - count * 0.1).abs() < 5.0 * deviation,
        "{few} of {count}"
    );
}

#[test]
fn aliases_are_names_that_read_as_nothing_else() {
    assert!(LIVE.parse::<Alias>().unwrap().is_live());
    assert_eq!(Alias::live().as_str(), LIVE);
    for good in ["canary", "blue", "v", "va", "beta-2", "v3a"] {
        assert_eq!(good.parse::<Alias>().unwrap().as_str(), good);
    }
    for taken in ["v3", "latest", "xn", "decade", "a1b2c3"] {
        let alias = taken.parse::<Alias>();
        assert!(matches!(alias, Err(BadAlias::Taken { .. })), "{taken}");
    }
    let marked = "a--b".parse::<Alias>();
    assert!(matches!(marked, Err(BadAlias::Mark { .. })));
    for bad in ["", "3", "A", "a_b", "-a", "a-"] {
        assert!(
            matches!(bad.parse::<Alias>(), Err(BadAlias::Name(_))),
            "{bad}"
        );
    }
}

#[test]
fn revisions_are_found_by_number_latest_and_id() {
    let known = [
        (12, id(0x12)),
        (11, id(0xab)),
        (10, id(0x12)),
        (9, id(0xac)),
    ];
    let find = |text: &str| text.parse::<Revision>().unwrap().find(&known);
    for (text, number) in [
        ("latest", 12),
        ("v9", 9),
        ("9", 9),
        ("abcdef", 0),
        ("ab7777", 11),
        ("AB7777", 11),
        // Two have this id, and it is the same revision: the newer one is meant.
        ("127777", 12),
        ("000012", 12),
    ] {
        match number {
            0 => assert!(find(text).is_err(), "{text}"),
            number => assert_eq!(find(text), Ok(number), "{text}"),
        }
    }
    let unknown = find("v8").unwrap_err().to_string();
    assert!(
        unknown.contains("v8") && unknown.contains("v12, v11, v10, v9"),
        "{unknown}"
    );
    for bad in [
        "",
        "v",
        "v-1",
        "v+1",
        "+1",
        "abc",
        "a b c d",
        "v1.5",
        &"a".repeat(65),
    ] {
        assert!(bad.parse::<Revision>().is_err(), "{bad}");
    }
    let mut other = known[1].1;
    other.0.0[31] ^= 1;
    let both = [(2, known[1].1), (1, other)];
    let ambiguous = "ab7777".parse::<Revision>().unwrap().find(&both);
    assert!(matches!(ambiguous, Err(NoRevision::Ambiguous { .. })));
}

#[test]
fn shares_are_read_as_people_write_them() {
    let known = [(3, id(3)), (2, id(2)), (1, id(1))];
    let read = |texts: &[&str]| {
        let wanted: Vec<Wanted> = texts.iter().map(|text| text.parse().unwrap()).collect();
        wanted::split(&wanted, &known)
    };
    for (texts, shares) in [
        (&["v3"][..], &[(3, 100)][..]),
        (&["latest"], &[(3, 100)]),
        (&["v3=10", "v2=90"], &[(2, 90), (3, 10)]),
        (&["v3=10%", "v2"], &[(2, 90), (3, 10)]),
        (&["3=5", "2=995"], &[(2, 995), (3, 5)]),
    ] {
        assert_eq!(read(texts), Ok(split(shares).unwrap()), "{texts:?}");
    }
    let sum = NotSplit::Split(BadSplit::Sum { sum: 90 });
    assert_eq!(read(&["v3=10", "v2=80"]), Err(sum));
    assert_eq!(read(&["v3", "v2"]), Err(NotSplit::Weights));
    let nothing = NotSplit::Split(BadSplit::Nothing { revision: 2 });
    assert_eq!(read(&["v3=100", "v2"]), Err(nothing));
    let twice = NotSplit::Split(BadSplit::Twice { revision: 3 });
    assert_eq!(read(&["v3=50", "latest=50"]), Err(twice));
    assert!(matches!(read(&["v9"]), Err(NotSplit::Revision(_))));
    for bad in [
        "v3=",
        "v3=x",
        "v3=-1",
        "v3=1.5",
        "v3=%",
        "=10",
        "v3=4294967296",
    ] {
        assert!(bad.parse::<Wanted>().is_err(), "{bad}");
    }
}

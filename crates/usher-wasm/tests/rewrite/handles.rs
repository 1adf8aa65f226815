//! Handle numbers: the same in every run, whatever the runs before did with theirs.

use usher_wasm::rewrite::{RELEASE_OUTPARAM, RELEASE_REQUEST};

use crate::guest::{
    Guest, HIGH_WATER, KEEP_BOTH, KEEP_REQUEST, LEAK, SHUFFLE, SHUFFLE_BEHIND, TELL, assemble,
    component, text,
};

const TYPES: &str = "wasi:http/types@0.2.4";
const FIRST_THREE: [u32; 3] = [1, 2, 3];

fn guest() -> Guest {
    Guest::start(&component(), TYPES)
}

#[test]
fn the_arguments_are_handles_one_and_two_in_every_run() {
    let mut guest = guest();
    for _ in 0..100 {
        assert_eq!(guest.run(TELL), FIRST_THREE);
        assert_eq!(guest.renew(0, 3).expect("nothing is left"), 3);
    }
}

#[test]
fn the_order_of_dropping_does_not_reach_the_next_run() {
    let mut guest = guest();
    for mode in [SHUFFLE, SHUFFLE_BEHIND, SHUFFLE] {
        guest.run(mode);
        guest.renew(0, HIGH_WATER).expect("nothing is left");
        assert_eq!(guest.run(TELL), FIRST_THREE);
        guest.renew(0, 3).expect("nothing is left");
    }
}

/// Negative control: the runtime's table does carry the order when nobody puts it back.
#[test]
fn without_numbers_put_back_the_order_does_reach_the_next_run() {
    let mut guest = guest();
    guest.run(SHUFFLE);
    guest.renew(0, 0).expect("nothing is looked at");
    assert_ne!(guest.run(TELL), FIRST_THREE);
}

#[test]
fn a_leaked_handle_ends_the_environment() {
    let mut guest = guest();
    guest.run(LEAK);
    assert!(guest.renew(0, HIGH_WATER).is_err());
}

#[test]
fn leaked_handles_are_released_by_type_and_number() {
    let mut guest = guest();
    for _ in 0..3 {
        guest.run(LEAK);
        for number in [4, 3, 5] {
            guest
                .release("fields", number)
                .expect("is a leaked handle of that type");
        }
        guest.renew(0, HIGH_WATER).expect("nothing is left");
        assert_eq!(guest.run(TELL), FIRST_THREE);
        guest.renew(0, 3).expect("nothing is left");
    }
}

#[test]
fn releasing_a_wrong_guess_ends_the_environment() {
    for (name, number) in [
        ("fields", 1),
        ("fields", 2),
        ("fields", 6),
        ("incoming-request", 3),
    ] {
        let mut guest = guest();
        guest.run(LEAK);
        assert!(guest.release(name, number).is_err(), "{name} {number}");
    }
    let mut guest = guest();
    guest.run(LEAK);
    guest.release("fields", 3).expect("is a leaked handle");
    assert!(guest.renew(0, HIGH_WATER).is_err(), "two more are left");
}

/// A count below the high-water mark is found out when a number above it comes out early. When
/// none does, the order behind it stays as the run left it: the host must not count too few.
#[test]
fn a_count_below_the_high_water_mark_is_not_always_found_out() {
    let mut guest = guest();
    guest.run(SHUFFLE);
    assert!(guest.renew(0, 2).is_err(), "3 came out among the first two");

    let mut guest = self::guest();
    guest.run(SHUFFLE_BEHIND);
    assert_eq!(guest.renew(0, 2).expect("1 and 2 come out first"), 2);
    assert_eq!(
        guest.run(TELL),
        [1, 2, 5],
        "the drops of the run before can be read"
    );
}

#[test]
fn a_count_above_the_high_water_mark_does_no_harm() {
    let mut guest = guest();
    guest.run(SHUFFLE);
    assert_eq!(guest.renew(0, 1_000).expect("nothing is left"), 1_000);
    assert_eq!(guest.run(TELL), FIRST_THREE);
}

#[test]
fn arguments_that_are_still_alive_are_released() {
    let mut guest = guest();
    assert_eq!(guest.releasable, RELEASE_REQUEST | RELEASE_OUTPARAM);
    for run in 1..=3 {
        guest.run(KEEP_REQUEST);
        guest
            .renew(RELEASE_REQUEST, 2)
            .expect("the request is alive");
        assert_eq!(guest.seen(|seen| seen.dropped), (2 * run - 1, 2 * run - 1));
        guest.run(KEEP_BOTH);
        guest
            .renew(RELEASE_REQUEST | RELEASE_OUTPARAM, 2)
            .expect("both are alive");
        assert_eq!(guest.seen(|seen| seen.dropped), (2 * run, 2 * run));
    }
    assert_eq!(guest.run(TELL), FIRST_THREE);
}

#[test]
fn an_argument_that_is_kept_and_not_released_ends_the_environment() {
    let mut guest = guest();
    guest.run(KEEP_REQUEST);
    assert!(guest.renew(0, 2).is_err());
}

#[test]
fn releasing_what_is_gone_or_unknown_ends_the_environment() {
    for release in [RELEASE_REQUEST, RELEASE_OUTPARAM, 4, 1 << 31] {
        let mut guest = guest();
        guest.run(TELL);
        assert!(guest.renew(release, 3).is_err(), "{release}");
    }
}

#[test]
fn without_a_released_import_of_the_types_nothing_can_be_released() {
    let types = "wasi:http/types@0.2.0-rc-2023-11-10";
    let mut guest = Guest::start(&assemble(&text(types, "")), types);
    assert_eq!(guest.releasable, 0);
    assert_eq!(guest.run(TELL), FIRST_THREE);
    guest.renew(0, 3).expect("nothing is left");
    guest.run(KEEP_REQUEST);
    assert!(guest.renew(RELEASE_REQUEST, 2).is_err());
}

//! Mappings that a run changes are what they were after it.

use super::guest::Guest;

/// Asks for a change, puts back, compares the whole, three times; and looks at what is in memory.
fn put_back_after(line: &str, answer: impl Into<Option<i64>>, least_repairs: usize) {
    let answer = answer.into();
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let sums = guest.ask("sums 0");
    taken.put_back(&guest);
    for round in 0..3 {
        let now = guest.ask(line);
        assert_eq!(now, answer.unwrap_or(now), "{line}, round {round}");
        let (stopped, put_back) = taken.stopped_and_put_back(&guest).unwrap();
        assert!(put_back.repairs >= least_repairs, "{line}: {put_back:?}");
        taken.memory.compare(&stopped).unwrap();
        stopped.resume().unwrap();
        assert_eq!(guest.ask("count 0"), 2, "{line}");
        taken.put_back(&guest);
    }
    assert_eq!(guest.ask("sums 0"), sums, "{line}");
}

#[test]
fn the_heap_that_grew_or_shrank() {
    put_back_after("heap 1000000", 0, 1);
    put_back_after("heap 100", 0, 0);
    put_back_after("heap -100", 0, 0);
    put_back_after("heap -16384", 0, 1);
}

#[test]
fn new_mappings_even_without_access() {
    put_back_after("new 1048576", 0, 1);
}

#[test]
fn memory_that_was_unmapped() {
    put_back_after("gone 65536", 0, 1);
    put_back_after("gone 4096", 0, 1);
    put_back_after("gone-reserved 8192", 0, 1);
}

#[test]
fn memory_that_was_unmapped_and_mapped_at_the_same_place() {
    put_back_after("again 0", 0, 1);
}

#[test]
fn protection() {
    put_back_after("protect 8192", 0, 2);
}

#[test]
fn memory_that_was_moved_grown_or_shrunk() {
    put_back_after("move 1048576", None, 1);
    put_back_after("shrink 0", 0, 1);
}

#[test]
fn a_stack_that_grew() {
    put_back_after("deep 100", 0x5e * 100, 1);
    put_back_after("deep 4", 0x5e * 4, 0);
}

#[test]
fn memory_that_was_not_used_before() {
    put_back_after("untouched 65536", 0, 0);
    put_back_after("bss 0", 0, 0);
    put_back_after("locked 0", 0, 0);
    put_back_after("wiped 0", 0, 0);
}

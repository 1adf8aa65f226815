//! Changes that are meant not to be found.

use super::guest::Guest;
use crate::renewal::memory::Failed;
use crate::renewal::memory::discard::{Owed, discard, grow, is_discard};
use crate::renewal::memory::parts::Part;
use crate::renewal::memory::{MARK, errors::Difference};
use crate::renewal::stopped::Stopped;

#[test]
fn own_text_and_memory_without_access_that_were_written_through_procfs() {
    for line in ["text 0", "vdso 0", "reserved 123456789"] {
        let mut guest = Guest::start();
        let mut taken = guest.taken();
        assert_eq!(guest.ask(line), 0);
        let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
        taken.memory.compare(&stopped).unwrap();
        stopped.resume().unwrap();
        assert_eq!(guest.ask("count 0"), 2, "{line}");
    }
}

#[test]
fn a_hot_page_that_was_dropped_does_not_hide_a_cold_one() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    for _ in 0..3 {
        guest.ask("dirty 65536");
        taken.put_back(&guest);
    }
    assert_eq!(guest.ask("swap-text 4096"), 0);
    let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
    taken.memory.compare(&stopped).unwrap();
    stopped.resume().unwrap();
    assert_eq!(guest.ask("dirty 65536"), 2);
}

/// A page that nobody has written is in the image as well: one that is not would be there from the
/// first time that a run reads it, for all later runs to see.
#[test]
fn the_image_has_no_hole_that_a_run_could_fill() {
    let guest = Guest::start();
    let taken = guest.taken();
    let parts = &taken.memory.parts;
    let unused = |part: &Part| part.used.iter().map(|it| it.len()).sum::<u64>() < part.span.len();
    assert!(parts.iter().any(unused), "there is nothing to be filled");
    let all: u64 = parts.iter().map(|part| part.span.len()).sum();
    let image = rustix::fs::fstat(taken.memory.image.file()).unwrap();
    assert_eq!(u64::try_from(image.st_blocks).unwrap() * 512, all);
}

#[test]
fn guard_pages_end_the_program() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    if guest.ask("guard 0") != 0 {
        eprintln!("skipped: this kernel has no guard pages for memory of files");
        return;
    }
    let ended = taken.try_put_back(&guest).unwrap_err();
    assert!(
        matches!(ended, Failed::Hidden { .. } | Failed::Undropped(_)),
        "{ended}"
    );
}

#[test]
fn notes_of_the_kernel_are_found_by_the_comparison_and_gone_with_the_mapping() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    assert_eq!(guest.ask("advise 0"), 0);
    let stopped = Stopped::stop(guest.pid).unwrap();
    let difference = taken.memory.compare(&stopped).unwrap_err();
    let found = matches!(difference, Difference::Flags { .. });
    assert!(found, "{difference}");
    stopped.resume().unwrap();
    // A note splits a mapping, so that it is mapped anew.
    let (stopped, put_back) = taken.stopped_and_put_back(&guest).unwrap();
    assert!(put_back.repairs > 0, "{put_back:?}");
    taken.memory.compare(&stopped).unwrap();
}

#[test]
fn a_program_that_drops_its_memory_is_owed_zeros() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let clean = guest.ask("sum 0");
    let region = u64::try_from(guest.ask("region 0")).unwrap();
    // What the kernel does by itself: the image shows again.
    assert_eq!(guest.ask("discard 65536"), 0);
    assert_eq!(guest.ask("sum 0"), clean);
    assert_eq!(discard(guest.pid, region, 65_536).unwrap(), Owed::Done);
    assert_eq!(guest.ask("sum 0"), 0);
    taken.put_back(&guest);
    assert_eq!(guest.ask("sum 0"), clean);
    // Nothing of the image is there, or nothing at all.
    for (address, bytes) in [(0x1000, 4096), (region + 1, 4096), (region, u64::MAX)] {
        assert_eq!(discard(guest.pid, address, bytes).unwrap(), Owed::Continue);
    }
    assert!(is_discard(4) && is_discard(24) && is_discard(0xdead_0000_0000 | 4));
    assert!(!is_discard(MARK | 4) && !is_discard(8));
}

#[test]
fn a_program_whose_mapping_would_grow_over_its_image_has_no_room() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let region = u64::try_from(guest.ask("region 0")).unwrap();
    // What the kernel does by itself: bytes of another piece of memory show.
    assert_ne!(guest.ask("move 1048576"), 0);
    taken.put_back(&guest);
    let grown = |to| grow(guest.pid, region, 65_536, to).unwrap();
    assert_eq!(grown(65_537), Owed::Refuse(libc::ENOMEM));
    assert_eq!(grown(65_536), Owed::Continue);
    assert_eq!(grow(guest.pid, 0x1000, 1, 2).unwrap(), Owed::Continue);
}

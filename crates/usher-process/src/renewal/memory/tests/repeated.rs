//! The same request again and again has the same answer, as if it were the first.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::guest::{Guest, Taken, alone, program};
use crate::renewal::memory::{PutBack, means};
use crate::sys::pages::{Means, Way};

#[test]
fn a_count_in_every_kind_of_memory_is_two_a_thousand_times() {
    let both = |windows| [program(), alone()].map(|program| (program, windows));
    for (program, windows) in both(false).into_iter().chain(both(true)) {
        let mut guest = Guest::of(program);
        // The negative control: without being put back it counts on.
        assert_eq!(guest.ask("count 0"), 2);
        assert_eq!(guest.ask("count 0"), 3);
        drop(guest);
        let mut guest = Guest::of(program);
        let mut taken = match windows {
            true => guest.taken_with_windows(),
            false => guest.taken(),
        };
        for round in 0..1_000 {
            assert_eq!(guest.ask("count 0"), 2, "round {round}");
            let put_back = taken.put_back(&guest);
            assert!(
                !put_back.searched_all,
                "the kernel's count was wrong in round {round}"
            );
        }
        let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
        taken.memory.compare(&stopped).unwrap();
    }
}

#[test]
fn whatever_was_changed_is_put_back() {
    let guest = Guest::start();
    let taken = guest.taken();
    change_and_put_back(guest, taken);
    let guest = Guest::start();
    let taken = guest.taken_with_windows();
    change_and_put_back(guest, taken);
}

fn change_and_put_back(mut guest: Guest, mut taken: Taken) {
    let sums = guest.ask("sums 0");
    taken.put_back(&guest);
    for bytes in [64 << 10, 1 << 20, 16 << 20] {
        let mut all = Vec::new();
        for round in 0..70 {
            assert_eq!(guest.ask(&format!("dirty {bytes}")), 2, "round {round}");
            let (stopped, put_back) = taken.stopped_and_put_back(&guest).unwrap();
            all.push(put_back);
            let pages = put_back.copied_pages + put_back.dropped_pages;
            assert!(pages >= bytes / 4096, "{put_back:?}");
            if round % 20 == 3 {
                taken.memory.compare(&stopped).unwrap();
            }
            stopped.resume().unwrap();
        }
        eprintln!("{bytes} bytes, medians: {:?}", medians(&all));
    }
    assert_eq!(guest.ask("sums 0"), sums);
}

#[test]
fn an_interpreter_that_sees_only_files_that_it_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let program = interpreter(folder.path());
    let mut guest = Guest::of(&program);
    // Grown warm, it does nothing for the first time any more.
    for _ in 0..20 {
        guest.ask("run 65536");
    }
    let next = guest.ask("run 65536") + 1_001;
    let mut taken = guest.taken_with_windows();
    let mut all = Vec::new();
    for round in 0..200 {
        assert_eq!(guest.ask("run 65536"), next, "round {round}");
        all.push(taken.put_back(&guest));
    }
    guest.ask("run 1048576");
    let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
    taken.memory.compare(&stopped).unwrap();
    eprintln!("an interpreter, medians: {:?}", medians(&all));
}

/// A program that runs `guest.py` where the root is mounted read-only.
pub(super) fn interpreter(folder: &Path) -> PathBuf {
    let guest = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src/renewal/memory/tests/guest.py"
    );
    let inside = format!("mount -o remount,ro,bind / && exec python3 {guest}");
    let program = folder.join("interpreter");
    std::fs::write(
        &program,
        format!("#!/bin/sh\nexec unshare -m sh -c '{inside}'\n"),
    )
    .unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

/// The median of each figure.
pub(super) fn medians(all: &[PutBack]) -> PutBack {
    let median = |of: fn(&PutBack) -> u64| {
        let mut values: Vec<_> = all.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    PutBack {
        found_pages: median(|one| one.found_pages),
        copied_pages: median(|one| one.copied_pages),
        dropped_pages: median(|one| one.dropped_pages),
        swapped_pages: median(|one| one.swapped_pages),
        swap_us: median(|one| one.swap_us),
        layout_us: median(|one| one.layout_us),
        search_us: median(|one| one.search_us),
        copy_us: median(|one| one.copy_us),
        rest_us: median(|one| one.rest_us),
        repairs: all.iter().map(|one| one.repairs).max().unwrap(),
        searched_all: all.iter().any(|one| one.searched_all),
    }
}

#[test]
fn what_is_changed_each_time_is_copied_and_what_is_not_is_left_to_itself() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let mut put_back = || {
        guest.ask("dirty 1048576");
        taken.put_back(&guest)
    };
    assert!(put_back().dropped_pages >= 256);
    assert!(put_back().copied_pages >= 256);
    assert!(put_back().dropped_pages < 64);
    let mut found = 0;
    for _ in 0..130 {
        found = taken.put_back(&guest).found_pages;
    }
    assert!(
        found < 128,
        "{found} pages are still copied that nothing changes"
    );
}

#[test]
fn kernels_that_tell_less_are_asked_otherwise() {
    let less = Means {
        pages: Some(Way::Words),
        mappings_asked: false,
    };
    let mut guest = Guest::start();
    // A terabyte of reserved addresses cannot be searched word by word.
    assert!(guest.taken_with(less).is_err());
    assert_eq!(guest.ask("gone-all-reserved 0"), 0);
    let mut taken = guest.taken_with(less).unwrap();
    for _ in 0..20 {
        assert_eq!(guest.ask("count 0"), 2);
        assert!(taken.put_back(&guest).searched_all);
    }
    assert!(means().pages.is_some());
}

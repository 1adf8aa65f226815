//! A program copies clean pages itself, out of windows to its image, whatever it has done to them.

use usher_core::renewal::choice::Way;

use super::guest::{Guest, Taken};
use crate::renewal::memory::discard::{Owed, discard, grow};
use crate::renewal::memory::{PutBack, Wanted};
use crate::renewal::stopped::Stopped;

/// What a clean page of the guest's is filled with.
const CLEAN: u8 = 1;
/// Bytes of it that each run changes.
const DIRTY: &str = "dirty 65536";
/// The first kernel that is known to let everybody share a file that is sealed against writing.
const SHARING: (u32, u32) = (6, 14);

/// One that copies itself by now; none: this kernel does not let it.
fn watched() -> Option<(Guest, Taken)> {
    let mut guest = Guest::start();
    let mut taken = guest.taken_with_windows();
    for _ in 0..6 {
        assert_eq!(guest.ask(DIRTY), 2);
        taken.put_back(&guest);
    }
    if guest.ask("window 0") != 0 {
        return Some((guest, taken));
    }
    let release = rustix::system::uname();
    let release = release.release().to_str().unwrap().to_owned();
    let mut numbers = release.split(['.', '-']).map_while(|it| it.parse().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    assert!(version < SHARING, "there are no windows");
    eprintln!("skipped: {release} lets nobody share a sealed file");
    None
}

/// Puts it back after this, sees that all is as it was, and that it goes on so.
fn put_back_after(line: &str) -> Option<PutBack> {
    let (mut guest, mut taken) = watched()?;
    let sums = guest.ask("sums 0");
    taken.put_back(&guest);
    assert_eq!(guest.ask(DIRTY), 2);
    assert_eq!(guest.ask(line), 0, "{line}");
    let (stopped, put_back) = taken.stopped_and_put_back(&guest).unwrap();
    taken.memory.compare(&stopped).unwrap();
    stopped.resume().unwrap();
    for _ in 0..3 {
        assert_eq!(guest.ask(DIRTY), 2, "{line}");
        assert_eq!(taken.put_back(&guest).repairs, 0, "{line}");
    }
    assert_eq!(guest.ask("sums 0"), sums, "{line}");
    Some(put_back)
}

/// The negative control: what is in a page that was copied though nobody had looked at the
/// mappings before; none if it could not be copied.
fn copied_blindly_after(line: &str) -> Option<Option<u8>> {
    let (mut guest, mut taken) = watched()?;
    let big = u64::try_from(guest.ask("big 0")).unwrap();
    assert_eq!(guest.ask(DIRTY), 2);
    assert_eq!(guest.ask(line), 0, "{line}");
    let mut stopped = Stopped::stop(guest.pid).unwrap();
    let copied = taken.memory.copy_usual(&mut stopped, &taken.agent);
    let mut byte = [0];
    stopped.read(big, &mut byte).unwrap();
    Some(copied.ok().map(|_| byte[0]))
}

#[test]
fn a_window_that_is_gone_or_elsewhere_is_mapped_again() {
    for line in ["window-gone 0", "window-moved 0"] {
        let Some(put_back) = put_back_after(line) else {
            return;
        };
        assert!(put_back.repairs > 0, "{line}");
        assert_eq!(copied_blindly_after(line), Some(None), "{line}");
    }
    assert!(put_back_after("window-cut 0").unwrap().repairs > 0);
}

#[test]
fn nothing_is_copied_from_what_a_program_has_put_in_the_place_of_a_window() {
    for line in ["window-other 0", "window-own 0"] {
        let Some(put_back) = put_back_after(line) else {
            return;
        };
        assert!(put_back.repairs > 0, "{line}");
        assert_eq!(copied_blindly_after(line), Some(Some(0x5e)), "{line}");
    }
}

#[test]
fn a_window_cannot_be_written_and_its_rights_are_put_back() {
    let Some(put_back) = put_back_after("window-write 0") else {
        return;
    };
    assert_eq!(put_back.repairs, 0);
    assert_eq!(copied_blindly_after("window-write 0"), Some(Some(CLEAN)));
    for (rights, blindly) in [(0, None), (4, Some(CLEAN)), (5, Some(CLEAN))] {
        let line = format!("window-protect {rights}");
        assert_eq!(put_back_after(&line).unwrap().repairs, 1, "{line}");
        assert_eq!(copied_blindly_after(&line), Some(blindly), "{line}");
    }
}

#[test]
fn a_second_window_is_taken_away() {
    if let Some(put_back) = put_back_after("window-double 0") {
        assert_eq!(put_back.repairs, 1);
    }
}

#[test]
fn nothing_is_owed_in_a_window_and_it_does_not_grow() {
    let Some((mut guest, mut taken)) = watched() else {
        return;
    };
    let window = u64::try_from(guest.ask("window 0")).unwrap();
    assert_eq!(discard(guest.pid, window, 8_192).unwrap(), Owed::Continue);
    let refused = Owed::Refuse(libc::ENOMEM);
    assert_eq!(grow(guest.pid, window, 4_096, 8_192).unwrap(), refused);
    // What would be another window, of any size.
    assert_eq!(grow(guest.pid, window, 0, 1 << 40).unwrap(), refused);
    assert_eq!(taken.put_back(&guest).repairs, 0);
}

#[test]
fn both_ways_take_turns_beside_windows() {
    let Some((mut guest, mut taken)) = watched() else {
        return;
    };
    let sums = guest.ask("sums 0");
    for round in 0..12 {
        let way = if round % 2 == 0 {
            Way::Swap
        } else {
            Way::InPlace
        };
        taken.wanted = Wanted::Way(way);
        taken.put_back(&guest);
        assert_eq!(guest.ask("count 0"), 2, "round {round}");
        assert_eq!(guest.ask(DIRTY), 2, "round {round}");
    }
    let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
    taken.memory.compare(&stopped).unwrap();
    stopped.resume().unwrap();
    assert_eq!(guest.ask("sums 0"), sums);
}

#[test]
fn what_runs_write_does_not_decide_about_windows() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let window = guest.ask("window 0");
    // None, then few, then many pages are copied each time.
    for bytes in [0, 65_536, 1_048_576] {
        for _ in 0..20 {
            guest.ask(&format!("dirty {bytes}"));
            assert_eq!(taken.put_back(&guest).repairs, 0);
        }
        assert_eq!(guest.ask("window 0"), window);
    }
    assert_eq!(window != 0, watched().is_some());
    let (stopped, _) = taken.stopped_and_put_back(&guest).unwrap();
    taken.memory.compare(&stopped).unwrap();
}

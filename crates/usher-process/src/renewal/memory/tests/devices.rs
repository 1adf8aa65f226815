//! A program's memory takes turns between the image and files on another device: a folder on disk
//! stands in for a device of its own here.

use std::path::Path;

use super::guest::{Guest, Taken};
use crate::renewal::memory::{Aside, Failed};
use crate::renewal::stopped::Stopped;

/// Where the files are: beside what is built, which is on disk.
fn folder() -> tempfile::TempDir {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    std::fs::create_dir_all(&folder).unwrap();
    tempfile::tempdir_in(folder).unwrap()
}

/// Puts it back and shows it its next area.
fn turn(guest: &Guest, taken: &mut Taken) -> Result<Option<Aside>, Failed> {
    let (mut stopped, _) = taken.stopped_and_put_back(guest)?;
    taken.memory.compare(&stopped).unwrap();
    let left = taken.memory.show_next(&mut stopped, &taken.agent)?;
    stopped.put_registers(&taken.registers).unwrap();
    stopped.resume().unwrap();
    Ok(left)
}

/// Whether the program has an area of a device now, by what the kernel tells of its mappings.
fn is_on_device(guest: &Guest) -> bool {
    let maps = format!("/proc/{}/maps", guest.pid.as_raw_nonzero());
    let text = std::fs::read_to_string(maps).unwrap();
    text.lines()
        .any(|line| line.contains("rw-s") && line.contains("/usher-area"))
}

#[test]
fn areas_take_turns_between_memory_and_a_device() {
    let folder = folder();
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let sums = guest.ask("sums 0");
    let divided = taken.memory.divide([None, Some(folder.path())]);
    divided.unwrap();
    assert!(turn(&guest, &mut taken).unwrap().is_none());
    for round in 0..20 {
        assert_eq!(is_on_device(&guest), round % 2 == 1, "round {round}");
        assert_eq!(guest.ask("sums 0"), sums, "round {round}");
        assert_eq!(guest.ask("count 0"), 2, "round {round}");
        assert_eq!(guest.ask("dirty 1048576"), 2, "round {round}");
        let left = turn(&guest, &mut taken).unwrap();
        assert_eq!(left.is_some(), round % 2 == 1, "round {round}");
        if let Some(scrub) = left {
            // What the run wrote went to the device.
            let written = scrub.scrub().unwrap();
            assert!(written >= 1 << 20, "{written} bytes");
        }
    }
    // Nothing is left under a name.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn two_areas_on_devices_take_turns() {
    let folder = folder();
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let both = [Some(folder.path()); 2];
    taken.memory.divide(both).unwrap();
    assert!(turn(&guest, &mut taken).unwrap().is_none());
    let mut files = Vec::new();
    for round in 0..6 {
        assert!(is_on_device(&guest), "round {round}");
        assert_eq!(guest.ask("count 0"), 2, "round {round}");
        files.push(area_of(&guest));
        let left = turn(&guest, &mut taken).unwrap();
        left.unwrap().scrub().unwrap();
    }
    assert!(files.windows(2).all(|two| two[0] != two[1]), "{files:?}");
    assert!(
        files.windows(3).all(|three| three[0] == three[2]),
        "{files:?}"
    );
}

/// The number of the file that the program's memory is in.
fn area_of(guest: &Guest) -> String {
    let maps = format!("/proc/{}/maps", guest.pid.as_raw_nonzero());
    let text = std::fs::read_to_string(maps).unwrap();
    let line = text.lines().find(|line| line.contains("/usher-area"));
    let inode = line.and_then(|line| line.split_whitespace().nth(4));
    inode.unwrap().to_owned()
}

/// The negative controls: what was not scrubbed is not shown, and would not be clean.
#[test]
fn an_area_that_was_not_scrubbed_is_never_shown() {
    let folder = folder();
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let divided = taken.memory.divide([Some(folder.path()), None]);
    divided.unwrap();
    assert!(turn(&guest, &mut taken).unwrap().is_none());
    assert_eq!(guest.ask("count 0"), 2);
    assert_eq!(guest.ask("count 0"), 3);
    let left = turn(&guest, &mut taken).unwrap();
    assert_eq!(guest.ask("count 0"), 2);
    let refused = turn(&guest, &mut taken).unwrap_err();
    assert!(matches!(refused, Failed::Unscrubbed), "{refused}");
    let written = left.unwrap().scrub().unwrap();
    assert!(written > 0, "the run has left nothing to scrub");
}

#[test]
fn a_run_on_a_device_that_was_not_put_back_is_found() {
    let folder = folder();
    let guest = Guest::start();
    let mut taken = guest.taken();
    let divided = taken.memory.divide([Some(folder.path()), None]);
    divided.unwrap();
    let _none = turn(&guest, &mut taken).unwrap();
    let stopped = Stopped::stop(guest.pid).unwrap();
    assert!(taken.memory.compare(&stopped).is_err());
}

#[test]
fn a_device_without_room_is_told() {
    let mut guest = Guest::start();
    let mut taken = guest.taken();
    let nowhere = Path::new("/proc/usher-is-not-here");
    let failed = taken.memory.divide([None, Some(nowhere)]).unwrap_err();
    assert!(
        failed.to_string().contains("an area on a device"),
        "{failed}"
    );
    assert_eq!(guest.ask("count 0"), 2);
}

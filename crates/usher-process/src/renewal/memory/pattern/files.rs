//! Files that a program has mapped, mapped by another one: opened by their paths, in its own
//! sandbox.
//!
//! Deliberately absent: files that have no path, or that the program could write.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::Pid;
use usher_core::renewal::layout::Mapping;

use super::super::calls;
use super::super::errors::Failed;
use crate::renewal::stopped::{Agent, Answers, Batch, Call, Expect, Pointer, Stopped};

/// Bytes of the kernel's description of a file, and where it says what.
const STAT_BYTES: usize = 144;
const STAT_WORDS: [usize; 7] = [0, 8, 48, 88, 96, 104, 112];

/// A file, and where it is mapped.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) path: String,
    pub(super) stamp: Stamp,
    pub(super) places: Vec<Mapping>,
}

/// What shows that a file is the same and was not changed: device, number, bytes, and the times of
/// its last changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp([u64; STAT_WORDS.len()]);

/// Maps files by their paths, and sees that they are those of the pattern.
pub(super) fn map_files(
    files: &[Mapped],
    stopped: &mut Stopped,
    agent: &Agent,
) -> Result<(), Failed> {
    let number = free_number(stopped.pid()).map_err(Failed::at("list the descriptors"))?;
    let mut batch = Batch::new();
    let mut stamps = Vec::new();
    for file in files {
        let path = [file.path.as_bytes(), &[0]].concat();
        let path = batch.bytes(&path)?;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let open = Call::new(libc::SYS_open, [path.into(), flags.into()]);
        batch.call(open, Expect::Value(number.into()));
        let stat = batch.space(STAT_BYTES)?;
        stamps.push(stat);
        let stat = Call::new(libc::SYS_fstat, [number.into(), stat.into()]);
        batch.call(stat, Expect::Value(0));
        for place in &file.places {
            let shared = place.backing.shared;
            let how = if shared {
                libc::MAP_SHARED
            } else {
                libc::MAP_PRIVATE
            };
            let flags = how | libc::MAP_FIXED;
            let offset = place.backing.offset;
            calls::map(&mut batch, place.span, place.access, flags, number, offset);
        }
        let close = Call::new(libc::SYS_close, [number.into()]);
        batch.call(close, Expect::Value(0));
    }
    let answers = stopped.run(agent, &batch);
    let answers = answers.map_err(Failed::by_program("map its files"))?;
    for (file, stat) in files.iter().zip(stamps) {
        if Stamp::told(&answers, stat) != Some(file.stamp) {
            return Err(Failed::Step {
                step: "find the files",
                source: io::Error::other(format!("{} was exchanged or changed", file.path)),
            });
        }
    }
    Ok(())
}

/// The number that the next descriptor of the process gets.
fn free_number(pid: Pid) -> io::Result<i32> {
    let mut taken = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero()))? {
        let name = entry?.file_name();
        taken.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    let free = (0..).find(|number| !taken.contains(number));
    free.ok_or_else(|| io::Error::other("there is none"))
}

impl Stamp {
    pub(super) fn of(about: &fs::Metadata) -> Self {
        let signed = [
            about.mtime(),
            about.mtime_nsec(),
            about.ctime(),
            about.ctime_nsec(),
        ];
        let [modified, modified_nanos, changed, changed_nanos] = signed.map(i64::cast_unsigned);
        Self([
            about.dev(),
            about.ino(),
            about.size(),
            modified,
            modified_nanos,
            changed,
            changed_nanos,
        ])
    }

    /// As the kernel has told the program.
    fn told(answers: &Answers, place: Pointer) -> Option<Self> {
        let bytes = answers.bytes(place);
        let mut words = [0; STAT_WORDS.len()];
        for (word, at) in words.iter_mut().zip(STAT_WORDS) {
            let bytes = bytes.get(at..at + size_of::<u64>())?;
            *word = u64::from_ne_bytes(bytes.try_into().ok()?);
        }
        Some(Self(words))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_has_another_stamp() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let stamp = || Stamp::of(&fs::metadata(file.path()).unwrap());
        let before = stamp();
        assert_eq!(before, stamp());
        fs::write(file.path(), b"other").unwrap();
        assert_ne!(before, stamp());
    }
}

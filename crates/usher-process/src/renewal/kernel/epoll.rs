//! The entries of an epoll set, and what makes those of a run into those of the snapshot.
//!
//! Deliberately absent: which entries are ready. One that has nothing to tell any more is dropped
//! by the kernel when it is next looked at.

use std::os::fd::RawFd;

use crate::renewal::stopped::{Batch, Call, Expect, Full};

/// One entry, as `/proc` shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// The number under which it was added.
    pub(super) number: RawFd,
    pub(super) events: u32,
    pub(super) data: u64,
    /// The file behind it, as far as it is told.
    pub(super) inode: u64,
    pub(super) device: u64,
}

/// What is to be done to a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// Add this entry again.
    Add(Entry),
    /// Give the entry of this number its events and data back.
    Modify(Entry),
    /// Remove the entry of this number.
    Remove(RawFd),
}

/// Reads the entries of a set; `None` if a line of one is not as it should be.
pub(super) fn entries(told: &str) -> Option<Vec<Entry>> {
    let lines = told.lines().filter(|line| line.starts_with("tfd:"));
    lines.map(entry).collect()
}

fn entry(line: &str) -> Option<Entry> {
    // "tfd:        5 events:       19 data:   7f00  pos:0 ino:61af sdev:7"
    let line = line.replace(':', " ");
    let mut words = line.split_whitespace();
    let mut value = |name| (words.next()? == name).then_some(words.next()?);
    let number = value("tfd")?.parse().ok()?;
    let mut hexadecimal = |name| u64::from_str_radix(value(name)?, 16).ok();
    let events = u32::try_from(hexadecimal("events")?).ok()?;
    let data = hexadecimal("data")?;
    hexadecimal("pos")?;
    Some(Entry {
        number,
        events,
        data,
        inode: hexadecimal("ino")?,
        device: hexadecimal("sdev")?,
    })
}

/// What makes `now` into `then`; `None` if nothing can. `is_open` tells of the run's numbers.
pub(super) fn changes(
    then: &[Entry],
    now: &[Entry],
    is_open: impl Fn(RawFd) -> bool,
) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    for entry in now {
        // Two files under one number: one of them is named by nothing any more.
        if now.iter().filter(|it| it.number == entry.number).count() > 1 {
            return None;
        }
        match then.iter().find(|it| it.number == entry.number) {
            Some(same) if same == entry => {}
            Some(same) if (same.inode, same.device) == (entry.inode, entry.device) => {
                changes.push(Change::Modify(*same));
            }
            Some(_) => return None,
            None if is_open(entry.number) => changes.push(Change::Remove(entry.number)),
            None => return None,
        }
    }
    for entry in then {
        if now.iter().all(|it| it.number != entry.number) {
            changes.push(Change::Add(*entry));
        }
    }
    Some(changes)
}

/// Appends the calls that change the set behind `number`.
pub(super) fn append(number: RawFd, changes: &[Change], batch: &mut Batch) -> Result<(), Full> {
    for change in changes {
        let (how, entry, event) = match change {
            Change::Add(entry) => (libc::EPOLL_CTL_ADD, entry.number, event(entry)),
            Change::Modify(entry) => (libc::EPOLL_CTL_MOD, entry.number, event(entry)),
            Change::Remove(entry) => (libc::EPOLL_CTL_DEL, *entry, Vec::new()),
        };
        let event = batch.bytes(&event)?;
        let set = [number.into(), how.into(), entry.into(), event.into()];
        batch.call(Call::new(libc::SYS_epoll_ctl, set), Expect::Value(0));
    }
    Ok(())
}

/// The kernel's structure, which is packed on one architecture only.
fn event(entry: &Entry) -> Vec<u8> {
    let mut bytes = entry.events.to_ne_bytes().to_vec();
    if !cfg!(target_arch = "x86_64") {
        bytes.extend([0; 4]);
    }
    bytes.extend(entry.data.to_ne_bytes());
    bytes
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const TOLD: &str = "pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1058\n\
        tfd:        5 events:       19 data:         7f0000000005  pos:0 ino:61af sdev:7\n\
        tfd:       12 events: 80000001 data:                    c  pos:0 ino:422 sdev:f\n";

    fn set() -> Vec<Entry> {
        entries(TOLD).unwrap()
    }

    #[test]
    fn entries_are_read_as_the_kernel_writes_them() {
        let read = set();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].number, read[0].events), (5, 0x19));
        assert_eq!((read[1].events, read[1].data), (0x8000_0001, 12));
        assert_eq!((read[0].inode, read[1].device), (0x61af, 0xf));
        assert_eq!(entries("tfd: 5 events: x data: 1 pos:0 ino:1 sdev:1"), None);
        assert_eq!(entries("pos:\t0\n"), Some(Vec::new()));
    }

    #[test]
    fn each_way_to_differ_has_its_change_or_none() {
        let then = set();
        let all = |_| true;
        assert_eq!(changes(&then, &then, all), Some(Vec::new()));
        let fewer = &then[..1];
        assert_eq!(changes(&then, fewer, all), Some(vec![Change::Add(then[1])]));
        assert_eq!(changes(fewer, &then, all), Some(vec![Change::Remove(12)]));
        // Its number was closed, and the file lives on: nobody can take the entry off.
        assert_eq!(changes(fewer, &then, |_| false), None);
        let mut spent = then.clone();
        spent[0].events = 0x4000_0000;
        assert_eq!(
            changes(&then, &spent, all),
            Some(vec![Change::Modify(then[0])])
        );
        let mut other = then.clone();
        other[0].inode += 1;
        assert_eq!(changes(&then, &other, all), None);
        let mut twice = then.clone();
        twice.push(then[0]);
        assert_eq!(changes(&then, &twice, all), None);
    }
}

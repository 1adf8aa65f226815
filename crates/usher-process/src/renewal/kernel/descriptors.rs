//! The table of descriptors: those of the snapshot stay, those of a run are closed.
//!
//! ```text
//! each number still names its file? ─no→ replaced, or given back
//!        └─yes→ count as before? ─yes────────────────────► flags, then what is behind (`kinds`)
//!                    └─no→ all other numbers are closed ──┘
//! ```
//!
//! Our duplicates share the open file descriptions, so that flags, offsets and contents are put
//! back through them. A connection that the run has closed gets its number back (`given`).
//! Deliberately absent: the same for other files that a run has closed or exchanged. A new
//! description would lack its locks, its place in epoll sets, and its peer.

use std::os::fd::{OwnedFd, RawFd};

use rustix::event::{PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::renewal::stopped::{Agent, Batch, Call, Expect, Stopped};
use crate::sys::handles;

use super::errors::{About as _, Difference, Leftover, TakeError, same};
use super::kinds::{Kind, info};
use super::locks::Locks;
use super::proc::{Proc, Text};
use super::sockets::asked;
use super::{epoll, given};

/// Descriptors at the snapshot: each costs one in the platform too.
const DESCRIPTORS_MAX: usize = 512;

/// The descriptors of the snapshot.
#[derive(Debug)]
pub(super) struct Descriptors {
    known: Vec<Descriptor>,
    locks: Locks,
    /// Ranges of numbers that hold all which are closed when another program is executed, and none
    /// of the snapshot's that is not.
    closing: Vec<(RawFd, RawFd)>,
    /// The kernel tells how many there are.
    counts: bool,
    /// Epoll sets that were changed, whose end is to be seen.
    changed: Vec<RawFd>,
    /// Whether there were new ones, which have been closed.
    closed: bool,
    /// Whether something was found behind one that was put back.
    moved: bool,
}

#[derive(Debug)]
pub(super) struct Descriptor {
    pub(super) number: RawFd,
    pub(super) file: OwnedFd,
    pub(super) flags: OFlags,
    /// Whether it is closed when another program is executed.
    pub(super) closes: bool,
    pub(super) owner: i32,
    pub(super) kind: Kind,
    /// What `/proc` told of it.
    pub(super) told: String,
}

impl Descriptors {
    /// `ours` are numbers of descriptors that the platform has put into the program; `scratch` the
    /// devices of the folders that are put back.
    pub(super) fn take(proc: &Proc, ours: &[RawFd], scratch: &[u64]) -> Result<Self, TakeError> {
        let what = "the list of descriptors";
        let listed = proc.descriptors().taking(what)?;
        if listed.len() > DESCRIPTORS_MAX {
            let what = format!("has more than {DESCRIPTORS_MAX} descriptors");
            return Err(TakeError::State(what));
        }
        let known = listed.iter().map(|number| {
            let is_ours = ours.contains(number);
            Descriptor::take(proc, *number, is_ours, scratch)
        });
        let known: Vec<_> = known.collect::<Result<_, _>>()?;
        let (closed, kept): (Vec<_>, Vec<_>) = known.iter().partition(|one| one.closes);
        let [closed, kept] = [closed, kept].map(numbers);
        Ok(Self {
            locks: Locks::take(&known).taking("the locks on a descriptor")?,
            closing: ranges(&closed, |number| kept.contains(&number)),
            known,
            counts: proc.descriptor_count().taking(what)? == listed.len(),
            changed: Vec::new(),
            closed: false,
            moved: false,
        })
    }

    /// Sees that each number names its file, and gives connections their numbers back. Before
    /// everything else, as it makes calls.
    pub(super) fn give_back(
        &self,
        proc: &Proc,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<(), Leftover> {
        let mut given = 0;
        for one in &self.known {
            let same = one.is_the_same(proc);
            if same.is_err() && one.kind.is_connection() && given < given::GIVEN_MAX {
                given::give(stopped, agent, one.number, &one.file)?;
                given += 1;
            } else {
                same?;
            }
        }
        if given > 0 {
            // What was given needed numbers, and calls of the program.
            self.known
                .iter()
                .try_for_each(|one| one.is_the_same(proc))?;
        }
        Ok(())
    }

    /// All of them, in the order of their numbers.
    pub(super) fn all(&self) -> &[Descriptor] {
        &self.known
    }

    /// Behind [`Self::give_back`], since when each number names its file.
    pub(super) fn plan(&mut self, proc: &Proc, batch: &mut Batch) -> Result<(), Leftover> {
        self.closed = self.has_new_ones(proc)?;
        self.plan_epoll(proc, batch)?;
        if self.closed {
            // To list them takes longer than to close all numbers that there could be.
            for (first, last) in gaps(&numbers(&self.known)) {
                let close = [first.into(), last.into(), 0_u64.into()];
                batch.call(Call::new(libc::SYS_close_range, close), Expect::Value(0));
            }
        }
        self.moved = false;
        for (one, ready) in self.known.iter().zip(self.readiness()?) {
            one.put_flags()?;
            self.moved |= one.kind.plan(proc, one.number, &one.file, ready)?;
            self.moved |= one.kind.is_polled() && !one.kind.rests(ready);
        }
        self.locks.plan(&self.known, batch)?;
        self.plan_closing(batch);
        Ok(())
    }

    /// Has all of them closed, or not, when another program is executed. Nobody but the program
    /// sees that, and to ask costs as much as to set; most are closed, and are named by ranges.
    fn plan_closing(&self, batch: &mut Batch) {
        for (first, last) in &self.closing {
            let flags = libc::CLOSE_RANGE_CLOEXEC;
            let set = [(*first).into(), (*last).into(), flags.into()];
            batch.call(Call::new(libc::SYS_close_range, set), Expect::Value(0));
        }
        for one in self.known.iter().filter(|one| !one.closes) {
            let set = [one.number.into(), libc::F_SETFD.into(), 0_u64.into()];
            batch.call(Call::new(libc::SYS_fcntl, set), Expect::Value(0));
        }
    }

    pub(super) fn done(&self, proc: &Proc) -> Result<(), Leftover> {
        if self.closed && self.has_new_ones(proc)? {
            return Err(Leftover::State("a descriptor could not be closed"));
        }
        // What was closed may have told something to what has stayed. Where nothing was, and all
        // was at rest, it still is: there is nobody who could have done anything.
        if self.closed || self.moved {
            self.rest()?;
        }
        for one in &self.known {
            if !self.changed.contains(&one.number) {
                continue;
            }
            if let Kind::Epoll { entries, told } = &one.kind
                && entries_of(told, one.number)? != *entries
            {
                let (number, what) = (one.number, "is an epoll set that does not go back");
                return Err(Leftover::Descriptor { number, what });
            }
        }
        Ok(())
    }

    /// Looks whether all of them poll as they do at rest.
    fn rest(&self) -> Result<(), Leftover> {
        for (one, ready) in self.known.iter().zip(self.readiness()?) {
            if one.kind.is_polled() && !one.kind.rests(ready) {
                let (number, what) = (one.number, "is not at rest any more");
                return Err(Leftover::Descriptor { number, what });
            }
        }
        Ok(())
    }

    pub(super) fn compare(&self, proc: &Proc) -> Result<(), Difference> {
        let piece = "descriptors";
        let known = numbers(&self.known);
        same(piece, &known, &proc.descriptors().comparing(piece)?)?;
        for one in &self.known {
            if !proc.has(one.number, &one.file).comparing(piece)? {
                let what = format!("descriptor {} is another one", one.number);
                return Err(Difference::Found { piece, what });
            }
            let told = proc.text(&info(one.number)).comparing(piece)?;
            let still = |text: &str| {
                let lines = text.lines().filter(|line| !one.kind.is_moving(line));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            same(piece, &still(&one.told), &still(&told))?;
            same(piece, &one.owner, &one.owner().comparing(piece)?)?;
            if let Some(how) = one.kind.difference(&one.file).comparing(piece)? {
                let what = format!("descriptor {} {how}", one.number);
                return Err(Difference::Found { piece, what });
            }
        }
        Ok(())
    }

    /// How each of them polls; what is not asked polls as nothing.
    fn readiness(&self) -> Result<Vec<PollFlags>, Leftover> {
        let polled = self.known.iter().filter(|one| one.kind.is_polled());
        let mut questions: Vec<_> = polled.map(|one| asked(&one.file)).collect();
        poll(&mut questions, Some(&Timespec::default())).putting("what waits")?;
        let mut answers = questions.iter().map(rustix::event::PollFd::revents);
        let all = self.known.iter().map(|one| {
            if one.kind.is_polled() {
                answers.next().unwrap_or(PollFlags::NVAL)
            } else {
                PollFlags::empty()
            }
        });
        Ok(all.collect())
    }

    fn knows(&self, number: RawFd) -> bool {
        (self.known.binary_search_by_key(&number, |one| one.number)).is_ok()
    }

    /// Whether it has numbers that the snapshot had not. As many as then and all of then still
    /// there means none.
    fn has_new_ones(&self, proc: &Proc) -> Result<bool, Leftover> {
        let what = "the list of descriptors";
        if self.counts {
            return Ok(proc.descriptor_count().putting(what)? != self.known.len());
        }
        let listed = proc.descriptors().putting(what)?;
        Ok(listed.iter().any(|number| !self.knows(*number)))
    }

    fn plan_epoll(&mut self, proc: &Proc, batch: &mut Batch) -> Result<(), Leftover> {
        self.changed.clear();
        for one in &self.known {
            let Kind::Epoll { entries, told } = &one.kind else {
                continue;
            };
            let now = entries_of(told, one.number)?;
            let is_open = |number| {
                let new = || proc.is_open(number, &one.file).is_ok_and(|open| open);
                self.knows(number) || (self.closed && new())
            };
            let changes = epoll::changes(entries, &now, is_open);
            let changes = changes.ok_or(Leftover::Descriptor {
                number: one.number,
                what: "is an epoll set with an entry that nobody names any more",
            })?;
            if !changes.is_empty() {
                epoll::append(one.number, &changes, batch)?;
                self.changed.push(one.number);
            }
        }
        Ok(())
    }
}

impl Descriptor {
    fn take(proc: &Proc, number: RawFd, is_ours: bool, scratch: &[u64]) -> Result<Self, TakeError> {
        let what = "a descriptor";
        let file = proc.duplicate(number).taking(what)?;
        let told = proc.text(&info(number)).taking(what)?;
        let kind = if is_ours {
            Kind::Fixed
        } else {
            Kind::take(proc, number, &file, &told, scratch)?
        };
        let flags = super::proc::field(&told, "flags");
        let flags = flags.and_then(|flags| u32::from_str_radix(flags, 8).ok());
        let flags = flags.ok_or_else(|| TakeError::Descriptor {
            number,
            what: "is told of in an unknown way".to_owned(),
        })?;
        let mut one = Self {
            number,
            flags: fcntl_getfl(&file).taking(what)?,
            closes: OFlags::from_bits_retain(flags).contains(OFlags::CLOEXEC),
            owner: 0,
            file,
            kind,
            told,
        };
        one.owner = one.owner().taking(what)?;
        Ok(one)
    }

    fn is_the_same(&self, proc: &Proc) -> Result<(), Leftover> {
        let number = self.number;
        match proc.has(number, &self.file) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Leftover::Descriptor {
                number,
                what: "was exchanged for another",
            }),
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Err(Leftover::Descriptor {
                number,
                what: "was closed",
            }),
            Err(error) => Err(error).putting("a descriptor"),
        }
    }

    /// Whether it was opened to name a path only, which nothing can be done to.
    pub(super) fn is_path(&self) -> bool {
        self.flags.contains(OFlags::PATH)
    }

    fn owner(&self) -> std::io::Result<i32> {
        if self.is_path() {
            Ok(0)
        } else {
            handles::owner(&self.file)
        }
    }

    fn put_flags(&self) -> Result<(), Leftover> {
        let what = "the flags of a descriptor";
        if self.is_path() {
            return Ok(());
        }
        if fcntl_getfl(&self.file).putting(what)? != self.flags {
            fcntl_setfl(&self.file, self.flags).putting(what)?;
            if fcntl_getfl(&self.file).putting(what)? != self.flags {
                let (number, what) = (self.number, "has flags that do not go back");
                return Err(Leftover::Descriptor { number, what });
            }
        }
        if self.owner().putting(what)? != self.owner {
            let (number, what) = (self.number, "sends signals to somebody else");
            return Err(Leftover::Descriptor { number, what });
        }
        Ok(())
    }
}

fn numbers<'a>(these: impl IntoIterator<Item = &'a Descriptor>) -> Vec<RawFd> {
    these.into_iter().map(|one| one.number).collect()
}

/// The ranges of all numbers that are not among these, which are in order.
fn gaps(numbers: &[RawFd]) -> Vec<(RawFd, RawFd)> {
    let mut gaps = Vec::new();
    let mut first = 0;
    for number in numbers {
        if first < *number {
            gaps.push((first, *number - 1));
        }
        first = number.saturating_add(1);
    }
    gaps.push((first, RawFd::MAX));
    gaps
}

fn entries_of(told: &Text, number: RawFd) -> Result<Vec<epoll::Entry>, Leftover> {
    let told = told.read().putting("an epoll set")?;
    epoll::entries(&told).ok_or(Leftover::Descriptor {
        number,
        what: "is an epoll set that is told of in an unknown way",
    })
}

/// The fewest ranges that hold all of `numbers`, which are in order, and none that `keeps` has.
fn ranges(numbers: &[RawFd], keeps: impl Fn(RawFd) -> bool) -> Vec<(RawFd, RawFd)> {
    let mut ranges: Vec<(RawFd, RawFd)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if (*last + 1..*number).all(|between| !keeps(between)) => {
                *last = *number;
            }
            _ => ranges.push((*number, *number)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::{RawFd, gaps, ranges};

    #[test]
    fn all_other_numbers_are_closed() {
        assert_eq!(gaps(&[]), [(0, RawFd::MAX)]);
        assert_eq!(gaps(&[0, 1, 2, 5]), [(3, 4), (6, RawFd::MAX)]);
        assert_eq!(gaps(&[3]), [(0, 2), (4, RawFd::MAX)]);
    }

    #[test]
    fn few_ranges_hold_all_numbers_and_spare_the_others() {
        let keeps = |number| [0, 1, 2, 5].contains(&number);
        assert_eq!(ranges(&[], keeps), []);
        assert_eq!(ranges(&[3, 4, 6, 9], keeps), [(3, 4), (6, 9)]);
        assert_eq!(ranges(&[7], keeps), [(7, 7)]);
    }
}

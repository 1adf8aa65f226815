//! Giving a process the descriptors of a pattern.
//!
//! ```text
//! numbers that are free are known ─► so each call's answer is, too ─► one batch makes all
//! sockets, pipes, flags: set from outside        epoll sets: filled last, by the process
//! ```
//!
//! Deliberately absent: what they are, and whether they can be made.

use std::collections::BTreeSet;
use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::{OFlags, SeekFrom, fcntl_getfl, fcntl_setfl, fstat};
use rustix::net::listen;

use super::super::super::epoll;
use super::super::super::errors::{About as _, Leftover};
use super::super::super::kinds;
use super::super::super::proc::Proc;
use super::{Becomes, How, Made, OPENED_BY, Wanted};
use crate::renewal::stopped::{Argument, Batch, Call, Expect};
use crate::sys::handles;

/// The numbers that a process has in use, and the calls that use others.
struct Table<'a> {
    open: BTreeSet<RawFd>,
    batch: &'a mut Batch,
}

impl Table<'_> {
    fn free(&self) -> RawFd {
        let free = (0..).find(|number| !self.open.contains(number));
        free.unwrap_or(RawFd::MAX)
    }

    fn close(&mut self, number: RawFd) {
        let close = Call::new(libc::SYS_close, [number.into()]);
        self.batch.call(close, Expect::Value(0));
        self.open.remove(&number);
    }

    /// Makes one descriptor, and gives it its number.
    fn one(&mut self, call: Call, wanted: &Wanted) {
        let made = self.free();
        self.batch.call(call, Expect::Value(made.into()));
        self.open.insert(made);
        self.settle(made, wanted.number, wanted.closes);
    }

    /// Moves what was made to where it is wanted.
    fn settle(&mut self, made: RawFd, number: RawFd, closes: bool) {
        if made != number {
            self.share(made, number, closes);
            self.close(made);
        }
    }

    fn share(&mut self, from: RawFd, to: RawFd, closes: bool) {
        let arguments = [from.into(), to.into(), cloexec(closes).into()];
        let call = Call::new(libc::SYS_dup3, arguments);
        self.batch.call(call, Expect::Value(to.into()));
        self.open.insert(to);
    }

    /// Makes two at once by a call whose last argument is where it writes their numbers.
    fn two(
        &mut self,
        make: impl FnOnce(Argument) -> Call,
        one: &Wanted,
        other: &Wanted,
    ) -> Result<(), Leftover> {
        let place = self.batch.space(2 * size_of::<i32>())?;
        let first = self.free();
        self.open.insert(first);
        let second = self.free();
        self.open.insert(second);
        self.batch.call(make(place.into()), Expect::Value(0));
        // The second one first: the first one's number could be where the second one is now.
        if second == one.number {
            return Err(Leftover::State("two descriptors have an odd order"));
        }
        self.settle(first, one.number, one.closes);
        self.settle(second, other.number, other.closes);
        Ok(())
    }
}

fn cloexec(closes: bool) -> i32 {
    if closes { libc::O_CLOEXEC } else { 0 }
}

/// Appends the calls that make the descriptors of a process that has those in `open`.
pub(in super::super) fn make(
    wanted: &[Wanted],
    open: Vec<RawFd>,
    batch: &mut Batch,
) -> Result<(), Leftover> {
    let open = open.into_iter().collect();
    let mut table = Table { open, batch };
    let given = |number: &RawFd| {
        let mut given = wanted.iter().filter(|one| matches!(one.how, How::Given));
        given.any(|one| one.number == *number)
    };
    let others: Vec<_> = table.open.iter().filter(|it| !given(it)).copied().collect();
    others.into_iter().for_each(|number| table.close(number));
    for one in wanted {
        let cloexec = cloexec(one.closes);
        let find = |number: RawFd| {
            let other = wanted.iter().find(|it| it.number == number);
            other.ok_or(Leftover::State("one of two descriptors is missing"))
        };
        match &one.how {
            How::Given if !table.open.contains(&one.number) => {
                return Err(Leftover::State("a standard stream is missing"));
            }
            How::Given => {
                let closes = if one.closes { libc::FD_CLOEXEC } else { 0 };
                let set = [one.number.into(), libc::F_SETFD.into(), closes.into()];
                let set = Call::new(libc::SYS_fcntl, set);
                table.batch.call(set, Expect::Value(0));
            }
            How::Shares(first) => table.share(*first, one.number, one.closes),
            How::Open(path, ..) => {
                let path = table.batch.bytes(&[path.as_bytes(), &[0]].concat())?;
                let flags = one.flags | cloexec.cast_unsigned();
                let open = Call::new(libc::SYS_open, [path.into(), flags.into()]);
                table.one(open, one);
            }
            How::Reads(other, ..) => {
                let other = find(*other)?;
                let make = |at| Call::new(libc::SYS_pipe2, [at, cloexec.into()]);
                table.two(make, one, other)?;
            }
            How::Writes(other) if find(*other)?.number < one.number => {}
            How::Writes(_) => return Err(Leftover::State("a pipe has its ends in an odd order")),
            How::Event(count, semaphore) => {
                let semaphore = if *semaphore { libc::EFD_SEMAPHORE } else { 0 };
                let arguments = [(*count).into(), (semaphore | cloexec).into()];
                table.one(Call::new(libc::SYS_eventfd2, arguments), one);
            }
            How::Timer(clock) => {
                let arguments = [(*clock).into(), cloexec.into()];
                table.one(Call::new(libc::SYS_timerfd_create, arguments), one);
            }
            How::Signals(mask) => {
                let mask = table.batch.bytes(&mask.to_ne_bytes())?;
                let arguments = [(-1).into(), mask.into(), 8_u64.into(), cloexec.into()];
                table.one(Call::new(libc::SYS_signalfd4, arguments), one);
            }
            How::Epoll(_) => table.one(Call::new(libc::SYS_epoll_create1, [cloexec.into()]), one),
            How::Socket(made) => socket(&mut table, made, one, wanted)?,
        }
    }
    Ok(())
}

fn socket(
    table: &mut Table<'_>,
    made: &Made,
    one: &Wanted,
    wanted: &[Wanted],
) -> Result<(), Leftover> {
    let kind = made.kind | cloexec(one.closes);
    let (family, protocol) = (made.family, made.protocol);
    let arguments = [family.into(), kind.into(), protocol.into()];
    match made.becomes {
        Becomes::Pair(number) if number < one.number => Ok(()),
        Becomes::Pair(number) => {
            let other = wanted.iter().find(|it| it.number == number);
            let other = other.ok_or(Leftover::State("one of two sockets is missing"))?;
            let [family, kind, protocol] = arguments;
            let make = |at| Call::new(libc::SYS_socketpair, [family, kind, protocol, at]);
            table.two(make, one, other)
        }
        _ => {
            table.one(Call::new(libc::SYS_socket, arguments), one);
            Ok(())
        }
    }
}

/// Sets from outside what is behind the descriptors that were made.
pub(in super::super) fn put(wanted: &[Wanted], proc: &Proc) -> Result<(), Leftover> {
    let what = "a descriptor";
    for one in wanted {
        if matches!(one.how, How::Shares(_)) {
            continue;
        }
        let file = proc.duplicate(one.number).putting(what)?;
        match &one.how {
            How::Open(_, then, offset) => {
                let about = fstat(&file).putting(what)?;
                if (about.st_dev, about.st_ino) != *then {
                    return Err(Leftover::State("a file was exchanged for another"));
                }
                if *offset != 0 {
                    rustix::fs::seek(&file, SeekFrom::Start(*offset)).putting(what)?;
                }
            }
            How::Reads(_, size, content) => {
                kinds::fill(&file, content).putting("a pipe")?;
                let now = rustix::pipe::fcntl_getpipe_size(&file).putting(what)?;
                if now != *size {
                    rustix::pipe::fcntl_setpipe_size(&file, *size).putting("a pipe")?;
                }
            }
            How::Socket(made) => put_socket(made, &file)?,
            _ => {}
        }
        let flags = OFlags::from_bits_retain(one.flags);
        let now = fcntl_getfl(&file).putting(what)?.difference(OPENED_BY);
        if now != flags {
            fcntl_setfl(&file, flags).putting("the flags of a descriptor")?;
        }
    }
    Ok(())
}

fn put_socket(made: &Made, file: &OwnedFd) -> Result<(), Leftover> {
    let what = "a socket";
    for (level, name, then) in &made.options {
        let now = handles::option(file, *level, *name).putting(what)?;
        if now != *then {
            handles::set_option(file, *level, *name, then).putting("an option of a socket")?;
        }
    }
    match &made.becomes {
        Becomes::Nothing | Becomes::Pair(_) => Ok(()),
        Becomes::Listener(name, most) => {
            handles::bind(file, name).putting("the name of a socket")?;
            let most = i32::try_from(*most).unwrap_or(i32::MAX);
            listen(file, most).putting("a listener")
        }
        Becomes::Connection(peer) => handles::connect(file, peer).putting("a connection"),
    }
}

/// Appends the calls that fill the epoll sets.
pub(in super::super) fn connect(wanted: &[Wanted], batch: &mut Batch) -> Result<(), Leftover> {
    for one in wanted {
        let How::Epoll(entries) = &one.how else {
            continue;
        };
        let entries = entries.iter().map(|(number, events, data)| epoll::Entry {
            number: *number,
            events: *events,
            data: *data,
            inode: 0,
            device: 0,
        });
        let changes: Vec<_> = entries.map(epoll::Change::Add).collect();
        epoll::append(one.number, &changes, batch)?;
    }
    Ok(())
}

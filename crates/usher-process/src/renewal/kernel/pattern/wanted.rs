//! The descriptors of a pattern: what each is.
//!
//! Deliberately absent: how they are made (`made`); files in scratch, files in memory, terminals,
//! and whatever `kinds` refuses.

mod made;

use std::os::fd::{OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, StatVfsMountFlags, fstat, fstatvfs};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};

pub(super) use self::made::{connect, make, put};
use super::super::descriptors::{Descriptor, Descriptors};
use super::super::epoll;
use super::super::kinds::Kind;
use super::super::proc::{Proc, field};
use super::super::sockets::Socket;
use super::{Given, NoPattern};
use crate::sandbox::API_PORT;
use crate::sys::handles::{self, Value};

/// What every program has for its standard input.
const NULL: &str = "/dev/null";
/// Flags by which a file was opened, and that are none of it afterwards.
const OPENED_BY: OFlags = OFlags::CREATE
    .union(OFlags::EXCL)
    .union(OFlags::TRUNC)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// One descriptor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    number: RawFd,
    closes: bool,
    flags: u32,
    how: How,
}

#[derive(Clone, Debug, PartialEq)]
enum How {
    /// It is there from the start.
    Given,
    /// It shares all with the one of this number.
    Shares(RawFd),
    /// A file, a folder or a device: its path, device and number, and where it is read next.
    Open(String, (u64, u64), u64),
    /// The end of a pipe that is read; where the other one is, its size, and what is in it.
    Reads(RawFd, usize, Vec<u8>),
    /// The end that is written.
    Writes(RawFd),
    Event(u64, bool),
    /// Not armed, of this clock.
    Timer(u64),
    Signals(u64),
    /// Numbers, events and data.
    Epoll(Vec<(RawFd, u32, u64)>),
    Socket(Box<Made>),
}

/// A socket that is made again.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    family: i32,
    kind: i32,
    protocol: i32,
    options: Vec<(i32, i32, Value)>,
    becomes: Becomes,
}

#[derive(Clone, Debug, PartialEq)]
enum Becomes {
    /// Nothing has been done with it.
    Nothing,
    /// It has this name, and so many may wait.
    Listener(Value, u32),
    /// It is connected with this peer, the Runtime API.
    Connection(Value),
    /// It is connected with the one of this number.
    Pair(RawFd),
}

impl Wanted {
    pub(super) fn is_connection(&self) -> bool {
        matches!(&self.how, How::Socket(made) if matches!(made.becomes, Becomes::Connection(_)))
    }
}

/// What of a program's descriptors is known while they are derived.
struct Known<'a> {
    proc: &'a Proc,
    all: &'a [Descriptor],
    files: Vec<(u64, u64)>,
    given: &'a [Given],
    pairs: Vec<(RawFd, RawFd)>,
}

/// All of them, in the order of their numbers. The program must be stopped.
pub(super) fn all(
    proc: &Proc,
    descriptors: &Descriptors,
    given: &[Given],
) -> Result<Vec<Wanted>, NoPattern> {
    let all = descriptors.all();
    let files = all.iter().map(|one| {
        let about = fstat(&one.file)?;
        Ok((about.st_dev, about.st_ino))
    });
    let mut known = Known {
        proc,
        all,
        files: files.collect::<Result<_, rustix::io::Errno>>()?,
        given,
        pairs: Vec::new(),
    };
    known.pairs = known.pairs()?;
    let wanted = (0..all.len()).map(|place| known.wanted(place));
    wanted.collect()
}

impl Known<'_> {
    fn wanted(&self, place: usize) -> Result<Wanted, NoPattern> {
        let one = &self.all[place];
        if one.owner != 0 {
            return Err(refused(one, "sends signals to somebody"));
        }
        let how = match self.shared(place)? {
            Some(first) => How::Shares(first),
            None => self.how(place)?,
        };
        Ok(Wanted {
            number: one.number,
            closes: one.closes,
            flags: one.flags.difference(OPENED_BY).bits(),
            how,
        })
    }

    /// The first one before it that is the same open file description.
    fn shared(&self, place: usize) -> Result<Option<RawFd>, NoPattern> {
        let one = &self.all[place];
        for (other, file) in self.all.iter().zip(&self.files).take(place) {
            let same = *file == self.files[place]
                && handles::same_file(self.proc.pid(), other.number, &one.file)?;
            if same {
                return Ok(Some(other.number));
            }
        }
        Ok(None)
    }

    fn how(&self, place: usize) -> Result<How, NoPattern> {
        let (one, file) = (&self.all[place], self.files[place]);
        if let Some(given) = self.given.iter().find(|given| given.file == file) {
            return match given.number == one.number {
                true => Ok(How::Given),
                false => Err(refused(one, "is one that it was given by another number")),
            };
        }
        match &one.kind {
            Kind::Device | Kind::File { .. } => self.file(one, file),
            Kind::Pipe { size, content } => self.pipe(place, *size, content),
            Kind::Event { count, .. } => {
                let semaphore = field(&one.told, "eventfd-semaphore").unwrap_or("0") != "0";
                Ok(How::Event(*count, semaphore))
            }
            Kind::Timer { value } => {
                let clock = field(&one.told, "clockid").and_then(|clock| clock.parse().ok());
                let idle = value.it_value.tv_sec == 0 && value.it_value.tv_nsec == 0;
                match clock.filter(|_| idle) {
                    Some(clock) => Ok(How::Timer(clock)),
                    None => Err(refused(one, "is a timer that runs")),
                }
            }
            Kind::Signals { mask } => Ok(How::Signals(*mask)),
            Kind::Epoll { entries, .. } => self.epoll(one, entries),
            Kind::Socket(socket) => self.socket(one, socket),
            Kind::Fixed => Err(refused(one, "names a path only, or is the platform's")),
        }
    }

    fn file(&self, one: &Descriptor, file: (u64, u64)) -> Result<How, NoPattern> {
        let path = self.proc.link(&format!("fd/{}", one.number))?;
        let path = path.into_os_string().into_string();
        let path = path.map_err(|_| refused(one, "is a file of an odd name"))?;
        let Kind::File { offset, locks } = &one.kind else {
            return match path == NULL && one.number == 0 {
                true => Ok(How::Given),
                false => Ok(How::Open(path, file, 0)),
            };
        };
        if !locks.is_empty() {
            return Err(refused(one, "is a file with locks"));
        }
        let fixed = fstatvfs(&one.file)?.f_flag;
        if !fixed.contains(StatVfsMountFlags::RDONLY) || !path.starts_with('/') {
            return Err(refused(one, "is a file of its own"));
        }
        Ok(How::Open(path, file, *offset))
    }

    fn pipe(&self, place: usize, size: usize, content: &[u8]) -> Result<How, NoPattern> {
        let one = &self.all[place];
        let reads = |one: &Descriptor| one.flags.intersection(OFlags::RWMODE) == OFlags::RDONLY;
        let ends = self.all.iter().zip(&self.files);
        let ends = ends.filter(|(_, file)| **file == self.files[place]);
        let mut others = ends.filter(|(other, _)| reads(other) != reads(one));
        match (others.next(), reads(one)) {
            (Some((other, _)), true) => Ok(How::Reads(other.number, size, content.to_vec())),
            (Some((other, _)), false) => Ok(How::Writes(other.number)),
            (None, _) => Err(refused(one, "is a pipe whose other end it has not")),
        }
    }

    fn epoll(&self, one: &Descriptor, entries: &[epoll::Entry]) -> Result<How, NoPattern> {
        for entry in entries {
            let place = self.all.iter().position(|it| it.number == entry.number);
            let file = place.and_then(|place| self.files.get(place));
            if file.is_none_or(|(_, inode)| *inode != entry.inode) {
                let what = "is an epoll set with an entry that nobody names any more";
                return Err(refused(one, what));
            }
        }
        let mut entries: Vec<_> = entries
            .iter()
            .map(|it| (it.number, it.events, it.data))
            .collect();
        entries.sort_unstable();
        Ok(How::Epoll(entries))
    }

    fn socket(&self, one: &Descriptor, socket: &Socket) -> Result<How, NoPattern> {
        let ask = |name| {
            let value = handles::option(&one.file, libc::SOL_SOCKET, name);
            value.map(|value| value.number(0).cast_signed())
        };
        let family = ask(libc::SO_DOMAIN)?;
        if !socket.has_usual_buffers() {
            return Err(refused(
                one,
                "is a socket with buffers of a size of its own",
            ));
        }
        let name = handles::name(&one.file, false)?;
        let peer = handles::name(&one.file, true).ok();
        let named = name
            .bytes()
            .get(2..)
            .is_some_and(|it| it.iter().any(|byte| *byte != 0));
        let pair = self.pairs.iter().find(|(number, _)| *number == one.number);
        let becomes = match (pair, peer) {
            (Some((_, other)), _) => Becomes::Pair(*other),
            (None, None) if socket.is_listener() => Becomes::Listener(name, socket.waiting_max()),
            (None, None) if !named => Becomes::Nothing,
            (None, Some(peer)) if is_api(family, &peer) => Becomes::Connection(peer),
            _ => return Err(refused(one, "is a socket that is connected, or has a name")),
        };
        Ok(How::Socket(Box::new(Made {
            family,
            kind: ask(libc::SO_TYPE)?,
            protocol: ask(libc::SO_PROTOCOL)?,
            options: socket.options().to_vec(),
            becomes,
        })))
    }

    /// Both ends of each pair of sockets, by number. Nothing tells which belong together, so a byte
    /// is sent from one and looked for at the others, and taken again.
    fn pairs(&self) -> Result<Vec<(RawFd, RawFd)>, NoPattern> {
        let mut ends = Vec::new();
        for (place, one) in self.all.iter().enumerate() {
            let given = self.given.iter().any(|it| it.file == self.files[place]);
            if !matches!(one.kind, Kind::Socket(_)) || given || self.shared(place)?.is_some() {
                continue;
            }
            let family = handles::option(&one.file, libc::SOL_SOCKET, libc::SO_DOMAIN)?;
            if family.number(0).cast_signed() == libc::AF_UNIX {
                ends.push(one);
            }
        }
        let mut pairs = Vec::new();
        while let Some(one) = ends.pop() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            if send(&one.file, &[0], flags).is_err() {
                return Err(refused(one, "is a socket without a peer"));
            }
            let place = ends.iter().position(|other| arrived(&other.file));
            let other = place.map(|place| ends.remove(place));
            let other = other.ok_or_else(|| refused(one, "is a socket with an unknown peer"))?;
            pairs.extend([(one.number, other.number), (other.number, one.number)]);
        }
        Ok(pairs)
    }
}

/// Takes the byte that has come, if it has.
fn arrived(file: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(file, PollFlags::IN)];
    let polled = retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())));
    if polled.is_err() || !asked[0].revents().contains(PollFlags::IN) {
        return false;
    }
    recv(file, &mut [0_u8; 1][..], RecvFlags::DONTWAIT).is_ok()
}

/// Whether this is the name of the Runtime API: port and address stand behind the family.
fn is_api(family: i32, peer: &Value) -> bool {
    let port = API_PORT.to_be_bytes();
    let name = [port[0], port[1], 127, 0, 0, 1];
    family == libc::AF_INET && peer.bytes().get(2..8) == Some(&name[..])
}

fn refused(one: &Descriptor, what: &str) -> NoPattern {
    NoPattern::Descriptor {
        number: one.number,
        what: what.to_owned(),
    }
}

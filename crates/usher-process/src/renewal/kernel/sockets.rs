//! A socket of the snapshot: what must be as it was, and what of it can be put back.
//!
//! ```text
//! listens:    connections that wait are taken off and closed
//! datagrams:  those that wait are taken and dropped
//! connected:  nothing may be unread, unsent or half closed: the other side has seen it → replaced
//! options:    set to what they were, and read again
//! ```
//!
//! Deliberately absent: options that the filter denies; bytes that the other side has not taken yet
//! of what it was sent, which are no longer the program's.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SocketFlags, accept_with, recv};

use crate::sys::handles::{self, Value};

use super::errors::{About as _, Leftover, TakeError};

/// Connections or datagrams that are taken off a socket in one renewal.
const TAKEN_MAX: usize = 4096;

const SOL_SOCKET: i32 = libc::SOL_SOCKET;
const SOL_UDP: i32 = 17;
const SOL_NETLINK: i32 = 270;
/// Whether the sizes of its buffers were set, and are not the kernel's choice any more.
const SO_BUF_LOCK: i32 = 72;

/// All options of any socket that the filter lets a program set and that do not move by themselves.
const OPTIONS: &[(i32, &[i32])] = &[(
    SOL_SOCKET,
    &[2, 6, 9, 10, 12, 13, 15, 16, 18, 20, 21, 29, 60],
)];
const INET_OPTIONS: &[(i32, &[i32])] =
    &[(libc::IPPROTO_IP, &[1, 2, 8, 10, 11, 12, 13, 24, 33, 34])];
const INET6_OPTIONS: &[(i32, &[i32])] = &[(
    libc::IPPROTO_IPV6,
    &[16, 18, 19, 23, 25, 26, 49, 51, 66, 67],
)];
const TCP_OPTIONS: &[(i32, &[i32])] = &[(
    libc::IPPROTO_TCP,
    &[1, 3, 4, 5, 6, 7, 8, 9, 13, 18, 23, 25, 30],
)];
const UDP_OPTIONS: &[(i32, &[i32])] = &[(SOL_UDP, &[1, 103, 104])];
const NETLINK_OPTIONS: &[(i32, &[i32])] = &[(SOL_NETLINK, &[3, 10, 11, 12])];

/// What is looked for: all but room for more.
pub(super) const WATCHED: PollFlags = PollFlags::IN.union(PollFlags::PRI).union(PollFlags::RDHUP);

/// A socket at the snapshot.
#[derive(Debug)]
pub(super) struct Socket {
    manner: Manner,
    seen: Seen,
    options: Vec<(i32, i32, Value)>,
    buffers: Option<Value>,
    /// The state in which it polls: an unconnected socket is hung up.
    readiness: PollFlags,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Manner {
    listens: bool,
    datagrams: bool,
    tcp: bool,
    internet: bool,
}

/// What must not have changed.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    name: Value,
    peer: Option<Value>,
    /// The state of TCP, and how many connections may wait.
    state: Option<(u8, u32)>,
}

impl Socket {
    pub(super) fn take(number: RawFd, file: &OwnedFd) -> Result<Self, TakeError> {
        let what = "a socket";
        let number_of = |name| handles::option(file, SOL_SOCKET, name);
        let ask = |name| Ok::<_, TakeError>(number_of(name).taking(what)?.number(0).cast_signed());
        let (family, kind) = (ask(libc::SO_DOMAIN)?, ask(libc::SO_TYPE)?);
        let protocol = ask(libc::SO_PROTOCOL)?;
        let refuse = |what: &str| TakeError::Descriptor {
            number,
            what: what.to_owned(),
        };
        let internet = matches!(family, libc::AF_INET | libc::AF_INET6);
        if !internet && !matches!(family, libc::AF_UNIX | libc::AF_NETLINK) {
            return Err(refuse("is a socket of an unknown family"));
        }
        let manner = Manner {
            listens: ask(libc::SO_ACCEPTCONN)? != 0,
            datagrams: !matches!(kind, libc::SOCK_STREAM | libc::SOCK_SEQPACKET),
            tcp: internet && protocol == libc::IPPROTO_TCP,
            internet,
        };
        let readiness = readiness(file).taking(what)?;
        if readiness.intersects(WATCHED | PollFlags::ERR) {
            let what = if manner.listens {
                "has a connection that waits to be accepted"
            } else {
                "has something unread, an error, or a peer that has closed"
            };
            return Err(refuse(what));
        }
        let levels = [
            (OPTIONS, true),
            (INET_OPTIONS, internet),
            (INET6_OPTIONS, family == libc::AF_INET6),
            (TCP_OPTIONS, manner.tcp),
            (UDP_OPTIONS, protocol == libc::IPPROTO_UDP),
            (NETLINK_OPTIONS, family == libc::AF_NETLINK),
        ];
        let levels = levels.iter().filter(|(_, has)| *has);
        let names = levels
            .flat_map(|(lists, _)| lists.iter())
            .flat_map(|(level, names)| names.iter().map(|name| (*level, *name)));
        // An older kernel knows fewer.
        let options = names.filter_map(|(level, name)| {
            let value = handles::option(file, level, name).ok()?;
            Some((level, name, value))
        });
        Ok(Self {
            options: options.collect(),
            buffers: handles::option(file, SOL_SOCKET, SO_BUF_LOCK).ok(),
            seen: Seen::of(file, manner).taking(what)?,
            manner,
            readiness,
        })
    }

    /// Puts it back as far as that can be; `ready` is how it polls.
    pub(super) fn plan(
        &self,
        number: RawFd,
        file: &OwnedFd,
        ready: PollFlags,
    ) -> Result<(), Leftover> {
        let left = |what| Leftover::Descriptor { number, what };
        let what = "a socket";
        if ready.contains(PollFlags::IN) && (self.manner.listens || self.manner.datagrams) {
            self.empty(file).putting(what)?;
            if readiness(file).putting(what)? != self.readiness {
                return Err(left("is a socket with more than can be taken off it"));
            }
        } else if ready != self.readiness {
            return Err(left(
                "is a socket with something unread, an error, or closed by one side",
            ));
        }
        if Seen::of(file, self.manner).putting(what)? != self.seen {
            return Err(left("is a socket with another name, peer or state"));
        }
        if self.unsent(file).putting(what)? != 0 {
            return Err(left("is a socket with something that was not sent"));
        }
        let buffers = handles::option(file, SOL_SOCKET, SO_BUF_LOCK).ok();
        if buffers != self.buffers {
            return Err(left("is a socket with buffers of another size"));
        }
        for (level, name, then) in &self.options {
            let now = handles::option(file, *level, *name).putting(what)?;
            if now == *then {
                continue;
            }
            handles::set_option(file, *level, *name, then).putting("an option of a socket")?;
            if handles::option(file, *level, *name).putting(what)? != *then {
                return Err(left("is a socket with an option that does not go back"));
            }
        }
        Ok(())
    }

    /// Whether it is one end of a TCP connection.
    pub(super) fn is_connection(&self) -> bool {
        self.manner.tcp && !self.manner.listens && self.seen.peer.is_some()
    }

    /// Whether it waits for connections of TCP, or could.
    pub(super) fn is_listener(&self) -> bool {
        self.manner.listens && self.manner.tcp
    }

    /// Its options: level, name and value.
    pub(super) fn options(&self) -> &[(i32, i32, Value)] {
        &self.options
    }

    /// Whether the sizes of its buffers are the kernel's choice.
    pub(super) fn has_usual_buffers(&self) -> bool {
        self.buffers.as_ref().is_none_or(|set| set.number(0) == 0)
    }

    /// How many connections may wait at a listener.
    pub(super) fn waiting_max(&self) -> u32 {
        self.seen.state.map_or(0, |(_, most)| most)
    }

    /// Whether it polls as it did at the snapshot.
    pub(super) fn rests(&self, ready: PollFlags) -> bool {
        ready == self.readiness
    }

    /// Bytes that it was given and keeps.
    fn unsent(&self, file: &OwnedFd) -> io::Result<i32> {
        if self.manner.tcp && !self.manner.listens {
            handles::unsent(file)
        } else if self.manner.internet && self.manner.datagrams {
            handles::queued(file)
        } else {
            Ok(0)
        }
    }

    /// The first way in which it differs now, for an audit.
    pub(super) fn difference(&self, file: &OwnedFd) -> io::Result<Option<String>> {
        let now = readiness(file)?;
        if now != self.readiness {
            return Ok(Some(format!("polls as {now:?}")));
        }
        let seen = Seen::of(file, self.manner)?;
        if seen != self.seen {
            return Ok(Some(format!("was {:?}, is {seen:?}", self.seen)));
        }
        let unsent = self.unsent(file)?;
        if unsent != 0 {
            return Ok(Some(format!("has {unsent} bytes that were not sent")));
        }
        if handles::option(file, SOL_SOCKET, SO_BUF_LOCK).ok() != self.buffers {
            return Ok(Some("has buffers of another size".to_owned()));
        }
        for (level, name, then) in &self.options {
            let now = handles::option(file, *level, *name)?;
            if now != *then {
                let (then, now) = (then.bytes(), now.bytes());
                return Ok(Some(format!(
                    "option {level}/{name} was {then:?}, is {now:?}"
                )));
            }
        }
        Ok(None)
    }

    /// Takes off what waits.
    fn empty(&self, file: &OwnedFd) -> io::Result<()> {
        for _ in 0..TAKEN_MAX {
            // The program may have set it to wait, so it is asked each time.
            if !readiness(file)?.contains(PollFlags::IN) {
                break;
            }
            if self.manner.listens {
                match accept_with(file, SocketFlags::CLOEXEC) {
                    Ok(_) | Err(rustix::io::Errno::CONNABORTED) => {}
                    Err(other) => return Err(other.into()),
                }
            } else {
                let mut byte = [0_u8; 1];
                recv(file, &mut byte[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC)?;
            }
        }
        Ok(())
    }
}

impl Seen {
    fn of(file: &OwnedFd, manner: Manner) -> io::Result<Self> {
        let state = if manner.tcp {
            let told = handles::option(file, libc::IPPROTO_TCP, libc::TCP_INFO)?;
            let state = told.bytes().first().copied().unwrap_or_default();
            // For a socket that listens the kernel tells here how many may wait.
            let most = if manner.listens { told.number(28) } else { 0 };
            Some((state, most))
        } else {
            None
        };
        Ok(Self {
            name: handles::name(file, false)?,
            peer: handles::name(file, true).ok(),
            state,
        })
    }
}

/// How a socket polls now, apart from room for more.
fn readiness(file: &OwnedFd) -> io::Result<PollFlags> {
    let mut asked = [PollFd::new(file, WATCHED)];
    retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))?;
    Ok(asked[0].revents())
}

/// The question how a descriptor polls.
pub(super) fn asked(file: &OwnedFd) -> PollFd<'_> {
    PollFd::from_borrowed_fd(file.as_fd(), WATCHED)
}

//! What platform, spawner and the first process of a sandbox say to each other, and how: one JSON
//! value in one packet of a Unix socket, with descriptors beside it.
//!
//! ```text
//! platform ──Order──► spawner            platform ──Task──► init (one socket for each sandbox)
//!          ◄─Done───                              ◄─Note───
//! ```
//!
//! Deliberately absent: programs. No descriptor of these sockets reaches one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Root;
use super::speculation::Guard;

/// Bytes of one message.
pub(super) const MESSAGE_MAX_BYTES: usize = 96 << 10;
/// Descriptors beside one message.
const DESCRIPTORS_MAX: usize = 5;

/// What the platform wants from the spawner.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Order {
    /// The first: make the root that all sandboxes get, and remember what to remove at the end.
    /// Comes with the lock that tells the next platform when all of this has ended.
    Open {
        /// Where the root is mounted, in the spawner's own view.
        place: PathBuf,
        /// What the root is made of.
        root: Root,
        /// Folders of control groups that are removed when the platform has gone.
        groups: Vec<PathBuf>,
    },
    /// A new sandbox; comes with the socket of its first process.
    Make,
    /// A folder of the host, as a mount that can be put into a sandbox.
    Tree(PathBuf),
}

/// What the spawner answers.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Done {
    /// Done; what was asked for is beside it: nothing, a process, or a mount.
    Done,
    /// Not done.
    Failed(Failure),
}

/// What the platform wants from the first process of a sandbox.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Task {
    /// Become a shell.
    Settle(Settle),
    /// Run a program; comes with standard output and error, the hook's socket if it has one, its
    /// secrets if it has any, and its folder unless it is a probe.
    Launch(Box<Start>),
    /// A new TCP socket, of the sandbox's network.
    Socket,
}

/// How a shell is made.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct Settle {
    /// Whether the program gets a user namespace of its own.
    pub(super) user_namespace: bool,
    /// The program's user and group, as the spawner sees them.
    pub(super) user: u32,
    /// The user and group that the first process takes on once the program runs.
    pub(super) keeper: u32,
    /// Denied calls are handed to the platform.
    pub(super) notify: bool,
    /// Landlock is laid over the mounts.
    pub(super) landlock: bool,
    /// What is kept from the processor's guesses.
    pub(super) speculation: Guard,
    /// No control group bounds the memory: bound it for each process, and watch the sum.
    pub(super) watch_memory: bool,
}

/// How a program is started.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Start {
    pub(super) command: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) memory_max_bytes: u64,
    pub(super) tasks_max: u32,
    pub(super) scratch_max_bytes: u64,
    pub(super) files_max: u32,
    /// The socket of the restored hook is beside this.
    pub(super) hook: bool,
    /// A file with its secrets is beside this.
    pub(super) secrets: bool,
    /// Run this probe and no program.
    pub(super) probe: bool,
}

/// What the first process of a sandbox says.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Note {
    /// The shell is made. Beside it: both listeners, the process that will become the program, the
    /// generation page if it has one, and the listener of the filter if there is one.
    Settled {
        /// It has a page.
        page: bool,
    },
    /// The program runs; its process is beside it.
    Launched,
    /// It could not be started.
    Refused(Refusal),
    /// The socket is beside it.
    Socket,
    /// Something could not be done.
    Failed(Failure),
    /// The program has ended by itself.
    Exited(i32),
    /// The program was ended by a signal.
    Killed(i32),
    /// The watch found the program over its memory, and the sandbox ends.
    OutOfMemory,
}

/// Why a program could not be started.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) enum Refusal {
    /// The sandbox could not be finished.
    Failed(Failure),
    /// The program could not be executed.
    Program(Fault),
}

/// Why a program could not be executed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Fault {
    /// No such file.
    NotFound,
    /// It is there, and must not be executed.
    NotExecutable,
    /// It is no program for this machine, and no script that names its interpreter.
    WrongFormat,
    /// It is there; the interpreter or loader that it names is not.
    NoInterpreter,
    /// Arguments and environment are too much for the kernel.
    TooLong,
    /// The kernel refused with this error number.
    Other(i32),
}

/// A step that failed, and the kernel's error number.
#[derive(Clone, Debug, Deserialize, Serialize, thiserror::Error)]
#[error("{what}: {}", io::Error::from_raw_os_error(*errno))]
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) errno: i32,
}

/// Says which step failed.
pub(super) trait Step<T> {
    /// The failure of the step `what`.
    fn step(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Step<T> for Result<T, E> {
    fn step(self, what: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let known = error.raw_os_error();
            let what = match known {
                Some(_) => what.to_owned(),
                None => format!("{what} ({error})"),
            };
            Failure {
                what,
                errno: known.unwrap_or(libc::EIO),
            }
        })
    }
}

/// A connected pair of sockets that keep packets apart; both are closed on exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Sends one message with descriptors; never raises a signal.
pub(super) fn send<M: Serialize>(
    socket: impl AsFd,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let parts = [IoSlice::new(&bytes)];
    rustix::io::retry_on_intr(|| sendmsg(&socket, &parts, &mut beside, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives one message and the descriptors beside it; `None` when the other side has gone.
pub(super) fn receive<M: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; MESSAGE_MAX_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut reset = false;
    let got = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg(&socket, &mut parts, &mut beside, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            // Messages that the other side never read make its close look like a reset, which is
            // told once and before what it has sent itself.
            Err(rustix::io::Errno::CONNRESET) if reset => return Ok(None),
            Err(rustix::io::Errno::CONNRESET) => reset = true,
            other => break other?,
        }
    };
    let mut descriptors = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = message {
            descriptors.extend(given);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    let message = bytes.get(..got.bytes).unwrap_or_default();
    Ok(Some((serde_json::from_slice(message)?, descriptors)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_heard_of_one_that_did_not_listen_any_more() {
        let (here, there) = pair().unwrap();
        send(&here, &1_u32, &[]).unwrap();
        send(&there, &2_u32, &[]).unwrap();
        drop(there);
        let heard: Option<(u32, _)> = receive(&here).unwrap();
        assert_eq!(heard.map(|(word, _)| word), Some(2));
        let heard: Option<(u32, Vec<OwnedFd>)> = receive(&here).unwrap();
        assert!(heard.is_none());
    }
}

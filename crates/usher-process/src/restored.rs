//! The hook by which a program learns that it was put back, so that no generator in it repeats its
//! values.
//!
//! ```text
//! program    starts ─hello─►     waits in a read                    reads ─ seeds ─answer─►
//! platform   ────────────── declared ── prepare ── snapshot … put back ──told──► waits ── request
//! ```
//!
//! A put-back brings the state of every random generator back too, and each request would be given
//! the numbers of the one before. A program that can seed its generators anew says so by a hello on
//! the socket at descriptor [`DESCRIPTOR`]; the shims of [`shims`] do that for CPython and Node
//! without a change to the program, `docs/restored.md` says how any other program does. After each
//! put-back it is told so together with fresh entropy, and it gets its next request only when it
//! has answered, so that there is no moment at which a request could draw an old number.
//!
//! A program that says no hello has declared nothing, and what that means is decided elsewhere.
//! Everything that it sends is outside input: the worst that it can bring about is an error, after
//! which it is replaced. Deliberately absent: snapshots, put-backs, and the decision who is reused.

mod message;
pub(crate) mod page;
pub(crate) mod shims;

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use rand::TryRng as _;
use rand::rngs::SysRng;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::net::UnixStream;
use tokio::time::timeout;

use self::message::{ANSWER_BYTES, Answer, ENTROPY_BYTES, HELLO, HELLO_BYTES};

pub use self::page::PAGE_VARIABLE;
pub use self::shims::restored_environment;

/// The number of the hook's socket in the program.
pub(crate) const DESCRIPTOR: i32 = 3;
/// The variable that tells a program this number.
pub const VARIABLE: &str = "USHER_RESTORED_FD";
/// The generation of the message before the snapshot.
const PREPARING: u64 = 0;
/// How long a program may take to seed its generators anew, in milliseconds.
const ANSWER_WAIT_MAX_MS: u64 = 2_000;
/// How long it may take before the snapshot, when it also looks for its generators.
const PREPARE_WAIT_MAX_MS: u64 = 10_000;
/// Hellos that are taken: a script may run other programs before the one that stays.
const HELLOS_MAX: usize = 16;

/// The platform's end of the hook's socket; to be made where tasks run.
#[derive(Debug)]
pub struct Hook {
    socket: UnixStream,
    declared: bool,
}

/// The program's end of it, for [`crate::sandbox::Shell::give_hook`].
#[derive(Debug)]
pub struct HookEnd(OwnedFd);

/// Why a program cannot be given its next request. It is to be replaced in every case.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// It has not said hello.
    #[error("the program has not declared that it seeds its generators anew")]
    Undeclared,
    /// Its end was closed, or it has exited.
    #[error("the program has closed the hook's socket (descriptor {DESCRIPTOR})")]
    Closed,
    /// It has not answered.
    #[error("the program has not answered the hook within {0} ms")]
    Late(u64),
    /// There was something to be read before it was told anything.
    #[error("the program wrote to the hook's socket without being asked")]
    Unasked,
    /// It answered something else.
    #[error("the program's answer to the hook is none of `USHER-1A` and `USHER-1N`")]
    Malformed,
    /// It answered another message.
    #[error("the program answered the hook for generation {said} instead of {told}")]
    Generation {
        /// What it was told.
        told: u64,
        /// What it said.
        said: u64,
    },
    /// It says that it cannot do it.
    #[error("the program holds a generator that it cannot seed anew")]
    Stale,
    /// No fresh entropy could be had.
    #[error("the machine gave no randomness")]
    Entropy(#[source] rand::rngs::SysError),
    /// The socket failed.
    #[error("the hook's socket failed")]
    Socket(#[source] io::Error),
}

impl HookEnd {
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0
    }
}

impl Hook {
    /// A hook, and the end of it that a program gets.
    ///
    /// # Errors
    ///
    /// If the machine has no descriptors left.
    pub fn pair() -> io::Result<(Self, HookEnd)> {
        let (here, there) = StdUnixStream::pair()?;
        here.set_nonblocking(true)?;
        let hook = Self {
            socket: UnixStream::from_std(here)?,
            declared: false,
        };
        Ok((hook, HookEnd(there.into())))
    }

    /// Whether the program has declared that it seeds its generators anew when it is told. Does not
    /// wait: a hello is said at the start, so it has come when the program is ready.
    ///
    /// # Errors
    ///
    /// If it wrote anything but hellos.
    pub fn declared(&mut self) -> Result<bool, HookError> {
        for _ in 0..HELLOS_MAX {
            let mut hello = [0; HELLO_BYTES];
            match self.at_once(&mut hello)? {
                None => return Ok(self.declared),
                Some(HELLO_BYTES) if hello == HELLO => self.declared = true,
                Some(0) => return Err(HookError::Closed),
                Some(_) => return Err(HookError::Malformed),
            }
        }
        Err(HookError::Unasked)
    }

    /// The program is a clone of one that has declared it, and says no hello of its own.
    pub(crate) fn inherit(&mut self) {
        self.declared = true;
    }

    /// To be called right before the snapshot: the program seeds its generators as after a
    /// put-back, and may look for them first, which then need not be done again each time.
    ///
    /// # Errors
    ///
    /// If it cannot be told later that it was put back.
    pub async fn prepare(&mut self) -> Result<(), HookError> {
        self.told(PREPARING, PREPARE_WAIT_MAX_MS).await
    }

    /// To be called after each put-back, and before the program gets its next request: gives it
    /// fresh entropy and waits until it has used it. `generation` is greater than 0, and another
    /// one each time.
    ///
    /// # Errors
    ///
    /// If the program did not say within 2 s that all of it is fresh.
    pub async fn restored(&mut self, generation: u64) -> Result<(), HookError> {
        self.told(generation, ANSWER_WAIT_MAX_MS).await
    }

    async fn told(&mut self, generation: u64, wait_max_ms: u64) -> Result<(), HookError> {
        if !self.declared {
            return Err(HookError::Undeclared);
        }
        match self.at_once(&mut [0; 1])? {
            None => {}
            Some(0) => return Err(HookError::Closed),
            Some(_) => return Err(HookError::Unasked),
        }
        let mut entropy = [0; ENTROPY_BYTES];
        (SysRng.try_fill_bytes(&mut entropy)).map_err(HookError::Entropy)?;
        self.tell(&message::told(generation, &entropy))?;
        let wait = Duration::from_millis(wait_max_ms);
        let answer = match timeout(wait, self.answer()).await {
            Ok(answer) => answer?,
            Err(_) => return Err(HookError::Late(wait_max_ms)),
        };
        match message::answer(answer) {
            Some(Answer::Fresh(said)) if said == generation => Ok(()),
            Some(Answer::Stale(said)) if said == generation => Err(HookError::Stale),
            Some(Answer::Fresh(said) | Answer::Stale(said)) => Err(HookError::Generation {
                told: generation,
                said,
            }),
            None => Err(HookError::Malformed),
        }
    }

    /// Writes a message, for which there is room: all before it were read.
    fn tell(&self, message: &[u8]) -> Result<(), HookError> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = rustix::io::retry_on_intr(|| send(&self.socket, message, flags));
        match sent {
            Ok(bytes) if bytes == message.len() => Ok(()),
            Ok(_) => Err(HookError::Malformed),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(HookError::Closed),
            Err(other) => Err(HookError::Socket(other.into())),
        }
    }

    /// The answer, however it is cut into pieces.
    async fn answer(&self) -> Result<[u8; ANSWER_BYTES], HookError> {
        let mut answer = [0; ANSWER_BYTES];
        let mut got = 0;
        while let Some(rest) = answer.get_mut(got..).filter(|rest| !rest.is_empty()) {
            self.socket.readable().await.map_err(HookError::Socket)?;
            match self.socket.try_read(rest) {
                Ok(0) => return Err(HookError::Closed),
                Ok(bytes) => got += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(HookError::Closed);
                }
                Err(error) => return Err(HookError::Socket(error)),
            }
        }
        Ok(answer)
    }

    /// What is there to be read: `None` if nothing is, 0 if the other end is closed. The kernel is
    /// asked and not tokio, which learns of new bytes a little later.
    fn at_once(&self, bytes: &mut [u8]) -> Result<Option<usize>, HookError> {
        let got = rustix::io::retry_on_intr(|| {
            recv(&self.socket, &mut *bytes, RecvFlags::DONTWAIT).map(|(got, _)| got)
        });
        match got {
            Ok(got) => Ok(Some(got)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::CONNRESET) => Err(HookError::Closed),
            Err(other) => Err(HookError::Socket(other.into())),
        }
    }
}

#[cfg(test)]
#[path = "restored/tests.rs"]
mod tests;

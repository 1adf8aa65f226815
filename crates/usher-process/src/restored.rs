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
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rand::TryRng as _;
use rand::rngs::SysRng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::UnixStream as Watched;
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
/// How long the thread that has put a program back waits for the answer itself, in microseconds:
/// most come sooner than another thread is woken.
const HEARD_AT_ONCE_MAX_US: u64 = 2_000;
/// Hellos that are taken: a script may run other programs before the one that stays.
const HELLOS_MAX: usize = 16;

/// The platform's end of the hook's socket.
#[derive(Debug)]
pub struct Hook {
    /// No runtime knows of it but while a task waits for it: each answer would wake a thread.
    socket: UnixStream,
    declared: bool,
}

/// A message that was written, of which the answer is to come.
#[derive(Debug)]
#[must_use = "the program may draw old numbers until it has answered"]
pub(crate) struct Told {
    generation: u64,
    answer: [u8; ANSWER_BYTES],
    got: usize,
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
        let (here, there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        let hook = Self {
            socket: here,
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
        let told = self.tell(generation)?;
        self.heard(told, wait_max_ms).await
    }

    /// The first part of [`restored`](Self::restored): tells the program, and waits for nothing.
    pub(crate) fn tell(&mut self, generation: u64) -> Result<Told, HookError> {
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
        self.write(&message::told(generation, &entropy))?;
        Ok(Told {
            generation,
            answer: [0; ANSWER_BYTES],
            got: 0,
        })
    }

    /// The second part: waits for the answer on this thread, for a moment only. None: it has come,
    /// and all is fresh; otherwise [`answered`](Self::answered) waits on.
    pub(crate) fn heard_soon(&mut self, mut told: Told) -> Result<Option<Told>, HookError> {
        let until = Instant::now() + Duration::from_micros(HEARD_AT_ONCE_MAX_US);
        loop {
            if self.take(&mut told)? {
                return told.judged().map(|()| None);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Some(told));
            }
            let left = Timespec::try_from(left).ok();
            let mut asked = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut asked, left.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(other) => return Err(HookError::Socket(other.into())),
            }
        }
    }

    /// The third part, for an answer that did not come soon.
    ///
    /// # Errors
    ///
    /// As of [`restored`](Self::restored).
    pub(crate) async fn answered(&mut self, told: Told) -> Result<(), HookError> {
        self.heard(told, ANSWER_WAIT_MAX_MS).await
    }

    async fn heard(&mut self, mut told: Told, wait_max_ms: u64) -> Result<(), HookError> {
        let wait = Duration::from_millis(wait_max_ms);
        match timeout(wait, self.answer(&mut told)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(HookError::Late(wait_max_ms)),
        }
        told.judged()
    }

    /// Writes a message, for which there is room: all before it were read.
    fn write(&self, message: &[u8]) -> Result<(), HookError> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        let sent = rustix::io::retry_on_intr(|| send(&self.socket, message, flags));
        match sent {
            Ok(bytes) if bytes == message.len() => Ok(()),
            Ok(_) => Err(HookError::Malformed),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(HookError::Closed),
            Err(other) => Err(HookError::Socket(other.into())),
        }
    }

    /// Waits until all of the answer is there.
    async fn answer(&self, told: &mut Told) -> Result<(), HookError> {
        // A duplicate, since the runtime keeps what it watches.
        let watched = self.socket.try_clone().and_then(Watched::from_std);
        let watched = watched.map_err(HookError::Socket)?;
        loop {
            watched.readable().await.map_err(HookError::Socket)?;
            let taken = watched.try_io(Interest::READABLE, || match self.take(told) {
                Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                other => Ok(other.map(|_| ())),
            });
            match taken {
                Ok(whole) => return whole,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(HookError::Socket(error)),
            }
        }
    }

    /// Takes what there is of the answer, however it is cut into pieces. Whether that is all.
    fn take(&self, told: &mut Told) -> Result<bool, HookError> {
        while let Some(rest) = told.answer.get_mut(told.got..).filter(|it| !it.is_empty()) {
            match self.at_once(rest)? {
                None => return Ok(false),
                Some(0) => return Err(HookError::Closed),
                Some(bytes) => told.got += bytes,
            }
        }
        Ok(true)
    }

    /// What is there to be read: `None` if nothing is, 0 if the other end is closed.
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

impl Told {
    /// Whether the whole answer says that all of the program is fresh.
    fn judged(&self) -> Result<(), HookError> {
        let told = self.generation;
        match message::answer(self.answer) {
            Some(Answer::Fresh(said)) if said == told => Ok(()),
            Some(Answer::Stale(said)) if said == told => Err(HookError::Stale),
            Some(Answer::Fresh(said) | Answer::Stale(said)) => {
                Err(HookError::Generation { told, said })
            }
            None => Err(HookError::Malformed),
        }
    }
}

#[cfg(test)]
#[path = "restored/tests.rs"]
mod tests;

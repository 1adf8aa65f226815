//! System calls that a filter hands to the platform: each is answered, and those that are denied
//! are counted and reported, up to a bound.
//!
//! ```text
//! program calls ─► kernel holds it ─┬► answered "not permitted" ─► Denial to whoever takes them
//!                                   ├► drops pages: the kernel does it, or zeros are written
//!                                   └► forks: the kernel does it, or it is not permitted
//! ```
//!
//! A program that goes on calling costs the platform [`ANSWERS_MAX`] answers in its life, and
//! [`DISCARDS_MAX`] for pages; then the listener is closed, and the kernel answers by itself that
//! there is no such call. Such a program is not put back any more. Deliberately absent: leave to
//! make a denied call after all.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::filter;
use crate::renewal::discard::{self, Owed};
use crate::sys;
use crate::sys::filter::Asked;

/// Calls of one program that the platform answers itself.
const ANSWERS_MAX: u32 = 256;
/// Calls that drop pages or fork, of one program, that the platform answers.
const DISCARDS_MAX: u32 = 1 << 20;
/// Denials that may wait to be taken.
const WAITING_MAX: usize = 64;

/// A system call that was not permitted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// Its name, or its number where it has none here.
    pub call: String,
    /// The task that made it, as the host sees it.
    pub pid: u32,
    /// How often it was made since it was last reported, this time included.
    pub count: u32,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, pid, count } = self;
        write!(
            f,
            "the system call `{call}` is not permitted (process {pid}"
        )?;
        if *count > 1 {
            write!(f, ", {count} times")?;
        }
        f.write_str(")")
    }
}

/// Answers the calls of one program until it is dropped.
#[derive(Debug)]
pub(super) struct Answering {
    task: JoinHandle<()>,
    memory: Arc<State>,
}

/// What is known of a program's memory.
#[derive(Debug, Default)]
struct State {
    /// It lies on an image.
    laid: AtomicBool,
    /// It may lie on a device, where a child would not get a copy.
    shared: AtomicBool,
    /// Whoever changes it from outside holds this. A call that waits for its answer is taken back
    /// when its program is put back, and nothing may be written for it from then on.
    turn: Mutex<()>,
}

impl Answering {
    /// From now on the program's memory lies on an image.
    pub(super) fn lay(&self) {
        self.memory.laid.store(true, Ordering::SeqCst);
    }

    /// From now on it may lie on a device: the program cannot fork any more.
    pub(super) fn share(&self) {
        self.memory.shared.store(true, Ordering::SeqCst);
    }

    /// Nobody else changes the program's memory from outside while this is held.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.memory.turn.lock()
    }

    /// Whether calls are still answered.
    pub(super) fn is_open(&self) -> bool {
        !self.task.is_finished()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts answering.
pub(super) fn answer(listener: OwnedFd) -> io::Result<(Answering, mpsc::Receiver<Denial>)> {
    let asked_of = Arc::new(listener.try_clone()?);
    let listener = sys::ready::awaited(listener, Interest::READABLE)?;
    let (told, denials) = mpsc::channel(WAITING_MAX);
    let memory = Arc::<State>::default();
    let task = tokio::spawn(run(listener, asked_of, told, memory.clone()));
    Ok((Answering { task, memory }, denials))
}

async fn run(
    listener: AsyncFd<OwnedFd>,
    asked_of: Arc<OwnedFd>,
    told: mpsc::Sender<Denial>,
    memory: Arc<State>,
) {
    let mut untold: Option<Denial> = None;
    let (mut denied, mut discards) = (0, 0);
    while denied < ANSWERS_MAX && discards < DISCARDS_MAX {
        if !due(&listener).await {
            return;
        }
        let asked = match sys::filter::next(listener.get_ref()) {
            Ok(asked) => asked,
            // The caller was killed before its call was taken.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(_) => return,
        };
        if forks(asked) && !memory.shared.load(Ordering::SeqCst) {
            discards += 1;
            if sys::filter::permit(listener.get_ref(), asked).is_err() {
                return;
            }
            continue;
        }
        if let Some(work) = owing(asked) {
            discards += 1;
            let work = Some(work).filter(|_| memory.laid.load(Ordering::SeqCst));
            let work = work.map(|work| in_turn(work, asked, asked_of.clone(), memory.clone()));
            if pay(listener.get_ref(), asked, work).await.is_err() {
                return;
            }
            continue;
        }
        denied += 1;
        let call = filter::name(asked.call);
        let pid = asked.pid;
        let mut denial = Denial {
            call,
            pid,
            count: 1,
        };
        if let Some(before) = untold.take()
            && before.call == denial.call
        {
            denial.count += before.count;
        }
        if let Err(mpsc::error::TrySendError::Full(denial)) = told.try_send(denial) {
            untold = Some(denial);
        }
        // It is told before the program goes on, so that it is known to be this request's.
        if sys::filter::refuse(listener.get_ref(), asked, libc::EPERM).is_err() {
            return;
        }
    }
}

/// Whether a call makes a child with a copy of the memory, and asks for nothing that is denied.
fn forks(asked: Asked) -> bool {
    let call = i64::from(asked.call);
    #[cfg(target_arch = "x86_64")]
    if call == libc::SYS_fork {
        return true;
    }
    let [flags, ..] = asked.arguments;
    call == libc::SYS_clone && flags & (filter::NEW_ANY | filter::SAME_MEMORY) == 0
}

/// What is owed to a call that drops pages or moves them, to be found out on a thread that may
/// block; none: it is another call.
fn owing(asked: Asked) -> Option<impl FnOnce() -> io::Result<Owed> + Send + 'static> {
    let call = i64::from(asked.call);
    let [address, bytes, third, ..] = asked.arguments;
    let moves = call == libc::SYS_mremap;
    let drops = call == libc::SYS_madvise && discard::is_discard(third);
    (moves || drops).then_some(move || {
        let pid = i32::try_from(asked.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
        match moves {
            true => discard::grow(pid, address, bytes, third),
            false => discard::discard(pid, address, bytes),
        }
    })
}

/// The work for a call, in turn with who else changes the program's memory, and only if the call
/// still waits for it.
fn in_turn(
    work: impl FnOnce() -> io::Result<Owed> + Send + 'static,
    asked: Asked,
    listener: Arc<OwnedFd>,
    memory: Arc<State>,
) -> impl FnOnce() -> io::Result<Owed> + Send + 'static {
    move || {
        let _turn = memory.turn.lock();
        match sys::filter::is_waiting(&listener, asked) {
            true => work(),
            // Nobody hears of it.
            false => Ok(Owed::Refuse(libc::EINTR)),
        }
    }
}

/// Answers a call with what is owed; nothing to be found out: the kernel does what is meant.
async fn pay(
    listener: &OwnedFd,
    asked: Asked,
    work: Option<impl FnOnce() -> io::Result<Owed> + Send + 'static>,
) -> io::Result<()> {
    let Some(work) = work else {
        return sys::filter::permit(listener, asked);
    };
    match spawn_blocking(work).await.map_err(io::Error::other)? {
        Ok(Owed::Continue) => sys::filter::permit(listener, asked),
        Ok(Owed::Done) => sys::filter::made(listener, asked),
        Ok(Owed::Refuse(errno)) => sys::filter::refuse(listener, asked, errno),
        // It may have lost some of what it wanted to lose.
        Err(_) => sys::filter::refuse(listener, asked, libc::EFAULT),
    }
}

/// Waits until a call is there to be answered; false when all tasks of the filter have gone.
async fn due(listener: &AsyncFd<OwnedFd>) -> bool {
    loop {
        let Ok(mut ready) = listener.readable().await else {
            return false;
        };
        // Taking a call would wait for one, so the kernel is asked first.
        let mut state = [PollFd::new(listener, PollFlags::IN)];
        let now = Timespec::default();
        if poll(&mut state, Some(&now)).is_err() {
            return false;
        }
        let state = state[0].revents();
        if state.contains(PollFlags::IN) {
            return true;
        }
        if !state.is_empty() {
            return false;
        }
        ready.clear_ready();
    }
}

//! System calls that a filter denied: each is answered, counted and reported, up to a bound.
//!
//! ```text
//! program calls ─► kernel holds it ─► answered "not permitted" ─► Denial to whoever takes them
//! ```
//!
//! A program that goes on calling costs the platform [`ANSWERS_MAX`] answers in its life; then the
//! listener is closed, and the kernel answers by itself that there is no such call. Deliberately
//! absent: leave to make a call after all.

use std::fmt;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::filter;
use crate::sys;

/// Calls of one program that the platform answers itself.
const ANSWERS_MAX: u32 = 256;
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
pub(super) struct Answering(JoinHandle<()>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts answering.
pub(super) fn answer(listener: OwnedFd) -> std::io::Result<(Answering, mpsc::Receiver<Denial>)> {
    let listener = sys::ready::awaited(listener, Interest::READABLE)?;
    let (told, denials) = mpsc::channel(WAITING_MAX);
    Ok((Answering(tokio::spawn(run(listener, told))), denials))
}

async fn run(listener: AsyncFd<OwnedFd>, told: mpsc::Sender<Denial>) {
    let mut untold: Option<Denial> = None;
    for _ in 0..ANSWERS_MAX {
        if !due(&listener).await {
            return;
        }
        let asked = match sys::filter::next(listener.get_ref()) {
            Ok(asked) => asked,
            // The caller was killed before its call was taken.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(_) => return,
        };
        if sys::filter::refuse(listener.get_ref(), asked, libc::EPERM).is_err() {
            return;
        }
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

//! An alarm for waits in the kernel that would have no end: a signal to the OS thread that waits.
//!
//! ```text
//! set ─► the wait ends by itself ───────────► cleared
//!   └──► rings, and again ─► EINTR ──┘
//! ```
//!
//! It rings more than once, since a signal that comes before the wait has begun ends nothing.
//! Deliberately absent: what is waited for.

use std::cell::OnceCell;
use std::io;
use std::mem;
use std::ptr;
use std::sync::OnceLock;

use super::answered;

/// It rings each so many nanoseconds. So late it is never what the processor's timer has to be set
/// for, which would cost more than all else here.
const RINGS_EACH_NS: i64 = 50_000_000;

/// The timer of one OS thread.
struct Alarm(libc::timer_t);

thread_local! {
    static ALARM: OnceCell<Alarm> = const { OnceCell::new() };
}

/// Makes a call that waits in the kernel, which the alarm ends with `EINTR` some 50 ms later.
pub(super) fn bounded<T>(call: impl FnOnce() -> T) -> io::Result<T> {
    ALARM.with(|alarm| {
        let alarm = match alarm.get() {
            Some(alarm) => alarm,
            None => {
                let made = Alarm::of_this_thread()?;
                alarm.get_or_init(|| made)
            }
        };
        alarm.set(RINGS_EACH_NS)?;
        let answer = call();
        alarm.set(0)?;
        Ok(answer)
    })
}

impl Alarm {
    fn of_this_thread() -> io::Result<Self> {
        let signal = signal()?;
        admit(signal)?;
        // SAFETY: the event is made of integers and a pointer, for all of which zero is a value.
        let mut event: libc::sigevent = unsafe { mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_signo = signal;
        event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
        let mut timer: libc::timer_t = ptr::null_mut();
        // No crate in use makes timers.
        // SAFETY: the kernel reads one place and writes the other, and both are what it expects.
        let made =
            unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) };
        answered(made.into())?;
        Ok(Self(timer))
    }

    /// Zero: it rings no more.
    fn set(&self, each_ns: i64) -> io::Result<()> {
        let each = libc::timespec {
            tv_sec: 0,
            tv_nsec: each_ns,
        };
        let times = libc::itimerspec {
            it_interval: each,
            it_value: each,
        };
        // SAFETY: the timer is this thread's own, and the kernel reads times from a place that has
        // them; what was set before is not asked for.
        let set = unsafe { libc::timer_settime(self.0, 0, &raw const times, ptr::null_mut()) };
        answered(set.into()).map(drop)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `of_this_thread`, and nobody uses it after this.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// The signal, to which this process answers by nothing but going on.
fn signal() -> io::Result<i32> {
    static SET: OnceLock<Result<i32, i32>> = OnceLock::new();
    let set = *SET.get_or_init(|| {
        let signal = libc::SIGRTMAX();
        // SAFETY: the action is made of integers and pointers, for all of which zero is a value.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        // Without `SA_RESTART`, so that the wait ends.
        action.sa_sigaction = rings as *const () as usize;
        // SAFETY: the handler does nothing, which is safe at any moment; nothing else in this
        // process uses the last signal; the action that was set before is not asked for.
        let set = unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) };
        let set = answered(set.into());
        set.map(|_| signal)
            .map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL))
    });
    set.map_err(io::Error::from_raw_os_error)
}

extern "C" fn rings(_: i32) {}

/// Lets it come to this thread, whatever was held back where it was begun.
fn admit(signal: i32) -> io::Result<()> {
    // SAFETY: the set is made of integers, for all of which zero is a value.
    let mut set: libc::sigset_t = unsafe { mem::zeroed() };
    let place: *mut libc::sigset_t = &raw mut set;
    // SAFETY: `set` is valid, and the number is that of a signal.
    answered(unsafe { libc::sigaddset(place, signal) }.into())?;
    // SAFETY: `set` is valid; no former mask is asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, place, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// Without the alarm this would wait for ever: nobody writes to the pipe.
    #[test]
    fn a_wait_without_an_end_is_ended_each_time() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        for _ in 0..3 {
            let read = bounded(|| rustix::io::read(&reader, &mut [0_u8; 1])).unwrap();
            assert_eq!(read, Err(rustix::io::Errno::INTR));
        }
    }

    #[test]
    fn what_ends_by_itself_is_not_disturbed() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"x").unwrap();
        let read = bounded(|| rustix::io::read(&reader, &mut [0_u8; 1])).unwrap();
        assert_eq!(read, Ok(1));
    }
}

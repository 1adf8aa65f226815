//! The general registers of a thread, and what they say of the call that it waits in.
//!
//! ```text
//!  stopped in a call that waits:  rax = "make me again", orig_rax = the call, rip behind it
//!       normalised:               rax = the call,        orig_rax = none,     rip at it
//! ```
//!
//! Deliberately absent: other processors than x86-64; [`super::Stopped::stop`] refuses them.

use std::fmt;

use crate::sys::trace::GENERAL_WORDS;

// Places in `struct user_regs_struct`.
const R12: usize = 3;
const RBP: usize = 4;
const RBX: usize = 5;
const R10: usize = 7;
const R9: usize = 8;
const R8: usize = 9;
const RAX: usize = 10;
const RDX: usize = 12;
const RSI: usize = 13;
const RDI: usize = 14;
const CALL: usize = 15;
const RIP: usize = 16;
const CS: usize = 17;
const FLAGS: usize = 18;
const RSP: usize = 19;
const SS: usize = 20;
const FS_BASE: usize = 21;
const GS_BASE: usize = 22;

/// The kernel's selectors for 64-bit code and for data of programs.
const CODE_64: u64 = 0x33;
const DATA: u64 = 0x2b;
/// Interrupts on, and the bit that is always 1.
const FLAGS_PLAIN: u64 = 0x202;
/// "Not in a call."
const NO_CALL: u64 = u64::MAX;
/// Bytes of the instruction that makes a call.
pub(super) const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// What a call "returns" that is to be made again: `ERESTARTSYS`, `ERESTARTNOINTR`,
/// `ERESTARTNOHAND`, `ERESTART_RESTARTBLOCK`. No program ever sees them.
const AGAIN: [i64; 4] = [-512, -513, -514, -516];
const INTERRUPTED: i64 = -4;

/// Calls that a stop ends with "interrupted" instead, though no signal came; each has done nothing
/// yet when it says so. (signal(7), "Interruption of system calls by stop signals")
const NOT_AGAIN: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    libc::SYS_pselect6,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_io_getevents,
];

/// The general registers of one thread.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) struct Frame(pub(super) [u64; GENERAL_WORDS]);

/// Only what says nothing of the program's data.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut frame = f.debug_struct("Frame");
        frame.field("next", &self.next()).finish_non_exhaustive()
    }
}

/// How a call ended that a thread was in when it was stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Waited {
    /// The thread was in no call, or in one that is done.
    No,
    /// The kernel will make the call again by itself.
    Again,
    /// The call says that it was interrupted, which no signal need have done.
    Interrupted,
}

impl Frame {
    /// Registers with which a thread runs from `text` on and knows nothing else, but keeps its own
    /// bases of thread-local storage. `counted`: calls to make.
    pub(super) fn running(self, text: u64, table: u64, results: u64, counted: u64) -> Self {
        let mut words = [0; GENERAL_WORDS];
        words[RIP] = text;
        words[RBX] = table;
        words[RBP] = results;
        words[R12] = counted;
        // Nothing is pushed; but a call may ask whether this is the alternate stack.
        words[RSP] = table;
        words[CALL] = NO_CALL;
        words[CS] = CODE_64;
        words[SS] = DATA;
        words[FLAGS] = FLAGS_PLAIN;
        words[FS_BASE] = self.0[FS_BASE];
        words[GS_BASE] = self.0[GS_BASE];
        Self(words)
    }

    /// Registers with which the instruction at `at` makes a call.
    pub(super) fn calling(self, at: u64, number: i64, arguments: [u64; 6]) -> Self {
        let mut frame = self.running(at, 0, 0, 0);
        frame.0[RAX] = u64::from_ne_bytes(number.to_ne_bytes());
        for (place, argument) in [RDI, RSI, RDX, R10, R8, R9].into_iter().zip(arguments) {
            frame.0[place] = argument;
        }
        frame
    }

    /// The address of the next instruction.
    pub(super) fn next(self) -> u64 {
        self.0[RIP]
    }

    /// What the last call answered.
    pub(super) fn answer(self) -> i64 {
        signed(self.0[RAX])
    }

    /// Where [`Self::running`] has come to: next instruction, table, results, calls left.
    pub(super) fn progress(self) -> [u64; 4] {
        [self.0[RIP], self.0[RBX], self.0[RBP], self.0[R12]]
    }

    /// Whether it runs 64-bit code.
    pub(super) fn wide(self) -> bool {
        self.0[CS] == CODE_64
    }

    /// How the call ended that the thread was in.
    pub(super) fn waited(self) -> Waited {
        let call = signed(self.0[CALL]);
        match self.answer() {
            _ if call < 0 => Waited::No,
            answer if AGAIN.contains(&answer) => Waited::Again,
            INTERRUPTED if NOT_AGAIN.contains(&call) => Waited::Interrupted,
            _ => Waited::No,
        }
    }

    /// The same, at the call that it waited in. Whatever the kernel has noted of the call's rest is
    /// not relied upon: it is made again from its start, and a relative time limit begins anew.
    pub(super) fn normalised(mut self) -> Self {
        if self.waited() != Waited::No {
            self.0[RIP] = self.0[RIP].wrapping_sub(SYSCALL.len() as u64);
            self.0[RAX] = self.0[CALL];
        }
        self.0[CALL] = NO_CALL;
        self
    }
}

fn signed(word: u64) -> i64 {
    i64::from_ne_bytes(word.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(call: i64, answer: i64) -> Frame {
        let mut words = [7; GENERAL_WORDS];
        words[CALL] = u64::from_ne_bytes(call.to_ne_bytes());
        words[RAX] = u64::from_ne_bytes(answer.to_ne_bytes());
        words[RIP] = 0x1000;
        Frame(words)
    }

    #[test]
    fn a_call_that_waited_is_made_again() {
        let again = [
            (libc::SYS_futex, -512),
            (libc::SYS_futex, -513),
            (libc::SYS_ppoll, -514),
            (libc::SYS_nanosleep, -516),
            (libc::SYS_epoll_pwait, -4),
        ];
        for (call, answer) in again {
            let frame = stopped(call, answer).normalised();
            let [rip, ..] = frame.progress();
            assert_eq!((rip, frame.answer()), (0xffe, call), "{call} {answer}");
            assert_eq!(frame.0[CALL], NO_CALL);
            assert_eq!(frame.waited(), Waited::No);
        }
    }

    #[test]
    fn a_call_that_is_done_is_not() {
        let done = [
            (libc::SYS_read, 12),
            (libc::SYS_read, -11),
            // Whoever closes a descriptor twice closes another one.
            (libc::SYS_close, -4),
            // Not in a call at all, whatever the registers happen to hold.
            (-1, -512),
            (-1, -4),
        ];
        for (call, answer) in done {
            let frame = stopped(call, answer).normalised();
            let [rip, ..] = frame.progress();
            assert_eq!((rip, frame.answer()), (0x1000, answer), "{call} {answer}");
            assert_eq!(frame.0[CALL], NO_CALL);
        }
    }
}

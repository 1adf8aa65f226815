//! Tracing the threads of another process: one request of the kernel for each function.
//!
//! All requests but the first ([`seize`]) demand that this very OS thread traces the other, and all
//! but [`interrupt`] that the other is stopped. A thread that has ended, whoever ended it, answers
//! each with `ESRCH`. Deliberately absent: when to make which request, see
//! [`crate::renewal::stopped`].

mod alarm;
mod area;
mod wait;

use std::ffi::{c_uint, c_void};
use std::io;
use std::mem;
use std::ptr;

use rustix::process::Pid;

use super::answered;
pub(crate) use area::{Area, area};
pub(crate) use wait::{Status, poll, wait};

/// A thread, by the number that this process sees.
pub(crate) type Tid = Pid;

/// Where signals wait.
#[derive(Clone, Copy)]
pub(crate) enum Queue {
    /// For one thread.
    Thread,
    /// For whichever thread of its process takes them first.
    Process,
}

/// `PTRACE_GETREGS` and `PTRACE_SETREGS`, which other processors' kernels do not know.
const GET_GENERAL: c_uint = 12;
const SET_GENERAL: c_uint = 13;
/// `PTRACE_DETACH`, which not every C library names.
const DETACH: c_uint = 17;
/// `PTRACE_SETOPTIONS`
const SET_OPTIONS: c_uint = 0x4200;
/// `PTRACE_O_SUSPEND_SECCOMP`
const PASS_FILTERS: i32 = 1 << 21;
/// The event of a thread that has executed a program, and has run nothing of it.
pub(crate) const EXECUTED: i32 = libc::PTRACE_EVENT_EXEC;
/// `PTRACE_GET_RSEQ_CONFIGURATION`
const RSEQ: c_uint = 0x420f;
/// `NT_X86_XSTATE`: everything that `XSAVE` stores.
const NOTE_EXTENDED: usize = 0x202;
/// `NT_X86_SHSTK`: there only where a thread has a shadow stack.
const NOTE_SHADOW_STACK: usize = 0x204;
/// Where `struct user` has the debug registers.
#[cfg(target_arch = "x86_64")]
const DEBUG_REGISTERS_AT: usize = mem::offset_of!(libc::user, u_debugreg);
#[cfg(not(target_arch = "x86_64"))]
const DEBUG_REGISTERS_AT: usize = 0;
/// The debug register that turns the others on.
const DEBUG_CONTROL: usize = 7;
/// The kernel's set of signals, in bytes.
const MASK_BYTES: usize = 8;
/// `struct siginfo`, in words of four bytes; the signal's number is the first.
const SIGINFO_WORDS: usize = 32;
/// Pending signals of one queue that are looked at.
const PENDING_MAX: u64 = 64;
/// The general registers, in words of eight bytes.
pub(crate) const GENERAL_WORDS: usize = 27;
/// More than all the extended registers of today's processors; a size that is found at run time
/// must be below it.
const EXTENDED_MAX_BYTES: usize = 16 * 1024;

/// Becomes the tracer of a thread, which runs on. If this OS thread ends, the other is killed.
pub(crate) fn seize(thread: Tid) -> io::Result<()> {
    number(libc::PTRACE_SEIZE, thread, libc::PTRACE_O_EXITKILL as usize)
}

/// The same of a thread that will execute a program, and stop there: [`poll`] says so by
/// [`EXECUTED`].
pub(crate) fn seize_until_executed(thread: Tid) -> io::Result<()> {
    let options = libc::PTRACE_O_EXITKILL | libc::PTRACE_O_TRACEEXEC;
    number(
        libc::PTRACE_SEIZE,
        thread,
        usize::try_from(options).map_err(io::Error::other)?,
    )
}

/// Whether the calls of a stopped thread pass by its filters, which takes a tracer that may
/// administer the system, and that has no filter itself. It ends at the latest when nobody traces
/// the thread.
pub(crate) fn pass_filters(thread: Tid, pass: bool) -> io::Result<()> {
    let pass = if pass { PASS_FILTERS } else { 0 };
    let options = libc::PTRACE_O_EXITKILL | pass;
    number(
        SET_OPTIONS,
        thread,
        usize::try_from(options).map_err(io::Error::other)?,
    )
}

/// Asks a thread to stop; [`poll`] says when it has.
pub(crate) fn interrupt(thread: Tid) -> io::Result<()> {
    number(libc::PTRACE_INTERRUPT, thread, 0)
}

/// Lets a thread run on; it is given `signal` if that is not 0.
pub(crate) fn go_on(thread: Tid, signal: i32) -> io::Result<()> {
    let signal = usize::try_from(signal).map_err(io::Error::other)?;
    number(libc::PTRACE_CONT, thread, signal)
}

/// Lets a thread run one instruction.
pub(crate) fn step(thread: Tid) -> io::Result<()> {
    number(libc::PTRACE_SINGLESTEP, thread, 0)
}

/// Is the tracer of a thread no longer; it runs on.
pub(crate) fn detach(thread: Tid) -> io::Result<()> {
    number(DETACH, thread, 0)
}

/// The general registers, in the order of `struct user_regs_struct`. The newer request for a set of
/// registers would give a thread that runs 32-bit code other ones, and take other ones from us.
pub(crate) fn general(thread: Tid) -> io::Result<[u64; GENERAL_WORDS]> {
    let mut words = [0; GENERAL_WORDS];
    let place: *mut [u64; GENERAL_WORDS] = &raw mut words;
    // SAFETY: the kernel writes that structure, which is as many words, and no more.
    unsafe { request(GET_GENERAL, thread, 0, place.cast()) }?;
    Ok(words)
}

/// Sets the general registers.
pub(crate) fn set_general(thread: Tid, mut words: [u64; GENERAL_WORDS]) -> io::Result<()> {
    let place: *mut [u64; GENERAL_WORDS] = &raw mut words;
    // SAFETY: the kernel reads that structure, which is as many words.
    unsafe { request(SET_GENERAL, thread, 0, place.cast()) }
}

/// The floating point, vector and other extended registers, as `XSAVE` stores them.
pub(crate) fn extended(thread: Tid) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; EXTENDED_MAX_BYTES];
    let place = bytes.as_mut_ptr().cast();
    let len = fetch(thread, NOTE_EXTENDED, place, EXTENDED_MAX_BYTES)?;
    // The kernel says nothing of what it has cut off.
    if len == EXTENDED_MAX_BYTES {
        return Err(odd_size(len));
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Sets them from what [`extended`] gave.
pub(crate) fn set_extended(thread: Tid, bytes: &[u8]) -> io::Result<()> {
    // The kernel reads only, though the request has one form for both ways.
    let place = bytes.as_ptr().cast_mut().cast();
    store(thread, NOTE_EXTENDED, place, bytes.len())
}

/// Whether they are what [`extended`] gave.
pub(crate) fn has_extended(thread: Tid, bytes: &[u8]) -> io::Result<bool> {
    // One word more, so that nothing that the kernel would cut off passes for the same.
    let room = bytes.len() + mem::size_of::<u64>();
    let mut now = vec![0; room];
    let len = fetch(thread, NOTE_EXTENDED, now.as_mut_ptr().cast(), room)?;
    Ok(now.get(..len) == Some(bytes))
}

/// Whether a thread has a shadow stack of the processor's.
pub(crate) fn has_shadow_stack(thread: Tid) -> bool {
    let mut word = 0_u64;
    let place: *mut u64 = &raw mut word;
    fetch(thread, NOTE_SHADOW_STACK, place.cast(), MASK_BYTES).is_ok()
}

/// What turns hardware breakpoints on: 0 for none.
pub(crate) fn debug_control(thread: Tid) -> io::Result<u64> {
    let mut word = 0_u64;
    let place: *mut u64 = &raw mut word;
    let at = DEBUG_REGISTERS_AT + DEBUG_CONTROL * mem::size_of::<u64>();
    // SAFETY: the kernel writes one word to a place that is one.
    unsafe { request(libc::PTRACE_PEEKUSER, thread, at, place.cast()) }?;
    Ok(word)
}

/// The signals that a thread holds back: bit 0 is signal 1.
pub(crate) fn mask(thread: Tid) -> io::Result<u64> {
    let mut set = 0_u64;
    let place: *mut u64 = &raw mut set;
    let get = c_uint::from_ne_bytes(libc::PTRACE_GETSIGMASK.to_ne_bytes());
    // SAFETY: the kernel writes a set of this size to a place of that size.
    unsafe { request(get, thread, MASK_BYTES, place.cast()) }?;
    Ok(set)
}

/// Sets the signals that a thread holds back; the kernel leaves out those that cannot be.
pub(crate) fn set_mask(thread: Tid, mut set: u64) -> io::Result<()> {
    let place: *mut u64 = &raw mut set;
    let put = c_uint::from_ne_bytes(libc::PTRACE_SETSIGMASK.to_ne_bytes());
    // SAFETY: the kernel reads a set of this size.
    unsafe { request(put, thread, MASK_BYTES, place.cast()) }
}

/// The signals that wait in one queue, as a set like [`mask`]'s; an empty one is asked once.
pub(crate) fn pending(thread: Tid, queue: Queue) -> io::Result<u64> {
    /// `struct ptrace_peeksiginfo_args`
    #[repr(C)]
    struct Wanted {
        first: u64,
        flags: u32,
        count: i32,
    }
    /// `PTRACE_PEEKSIGINFO_SHARED`
    const OF_PROCESS: u32 = 1;

    let mut set = 0;
    for first in 0..PENDING_MAX {
        let mut wanted = Wanted {
            first,
            flags: match queue {
                Queue::Thread => 0,
                Queue::Process => OF_PROCESS,
            },
            count: 1,
        };
        let mut found = [0_u32; SIGINFO_WORDS];
        let wanted: *mut Wanted = &raw mut wanted;
        let place: *mut [u32; SIGINFO_WORDS] = &raw mut found;
        let peek = c_uint::from_ne_bytes(libc::PTRACE_PEEKSIGINFO.to_ne_bytes());
        // SAFETY: the kernel reads such arguments, and writes one signal's information.
        let done = unsafe { raw(peek, thread, wanted.cast(), place.cast()) }?;
        if done == 0 {
            break;
        }
        set |= 1_u64.checked_shl(found[0].wrapping_sub(1)).unwrap_or(0);
    }
    Ok(set)
}

/// Where a thread has its area for restartable sequences, how long that is, its signature and
/// flags; zeros if it has none or the kernel knows no such thing.
pub(crate) fn sequences(thread: Tid) -> io::Result<[u64; 3]> {
    let mut words = [0_u64; 3];
    let whole = mem::size_of_val(&words);
    let place: *mut [u64; 3] = &raw mut words;
    // SAFETY: the kernel writes at most `whole` bytes to a place of that size.
    match unsafe { request(RSEQ, thread, whole, place.cast()) } {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok([0; 3]),
        other => other.map(|()| words),
    }
}

/// Where a thread has its list of robust locks.
pub(crate) fn robust_list(thread: Tid) -> io::Result<u64> {
    let mut head = 0_u64;
    let mut len = 0_usize;
    let (head_at, len_at): (*mut u64, *mut usize) = (&raw mut head, &raw mut len);
    let thread = thread.as_raw_nonzero().get();
    // SAFETY: the kernel writes one pointer and one size.
    answered(unsafe { libc::syscall(libc::SYS_get_robust_list, thread, head_at, len_at) })?;
    Ok(head)
}

fn fetch(thread: Tid, note: usize, place: *mut c_void, len: usize) -> io::Result<usize> {
    let mut vector = libc::iovec {
        iov_base: place,
        iov_len: len,
    };
    let at: *mut libc::iovec = &raw mut vector;
    // SAFETY: the callers' places are writable for `len` bytes, and the kernel writes no more.
    unsafe { request(libc::PTRACE_GETREGSET, thread, note, at.cast()) }?;
    Ok(vector.iov_len)
}

fn store(thread: Tid, note: usize, place: *mut c_void, len: usize) -> io::Result<()> {
    let mut vector = libc::iovec {
        iov_base: place,
        iov_len: len,
    };
    let at: *mut libc::iovec = &raw mut vector;
    // SAFETY: the callers' places are readable for `len` bytes, and the kernel reads no more.
    unsafe { request(libc::PTRACE_SETREGSET, thread, note, at.cast()) }
}

fn odd_size(len: usize) -> io::Error {
    io::Error::other(format!("the kernel gave registers of {len} bytes"))
}

/// A request whose last argument is a number.
fn number(what: c_uint, thread: Tid, number: usize) -> io::Result<()> {
    // SAFETY: the callers' requests take numbers only, and no memory of this process.
    unsafe { request(what, thread, 0, ptr::without_provenance_mut(number)) }
}

/// # Safety
///
/// `data` is what the request `what` takes.
unsafe fn request(what: c_uint, thread: Tid, at: usize, data: *mut c_void) -> io::Result<()> {
    // SAFETY: as the caller promises; `at` is a number in the requests of this file.
    unsafe { raw(what, thread, ptr::without_provenance_mut(at), data) }.map(|_| ())
}

/// # Safety
///
/// `address` and `data` are what the request `what` takes.
unsafe fn raw(
    what: c_uint,
    thread: Tid,
    address: *mut c_void,
    data: *mut c_void,
) -> io::Result<libc::c_long> {
    let thread = thread.as_raw_nonzero().get();
    // The C library's function answers some requests in another way than the kernel.
    // SAFETY: as the caller promises; the memory that is traced is another process's.
    answered(unsafe { libc::syscall(libc::SYS_ptrace, what, thread, address, data) })
}

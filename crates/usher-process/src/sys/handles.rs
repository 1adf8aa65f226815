//! What the kernel keeps behind the descriptors and threads of another process: questions and
//! settings that no crate wraps.
//!
//! Deliberately absent: what is right. Calls that `rustix` has are made through it.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _, RawFd};

use rustix::process::{Pid, Resource, Rlimit};

use super::answered;

/// Bytes of the longest value of a socket option, or name of a socket, that is looked at.
pub(crate) const VALUE_MAX_BYTES: usize = 256;
/// The kernel's `KCMP_FILE`, `KCMP_FILES` and `KCMP_FS`.
const SAME_FILE: libc::c_int = 0;
const SAME_TABLE: libc::c_int = 2;
const SAME_FOLDER: libc::c_int = 3;
/// Bytes that wait in a TCP socket and were never sent.
const UNSENT: libc::Ioctl = 0x894b;
/// Bytes that wait in a socket to be sent or taken.
const QUEUED: libc::Ioctl = 0x5411;
/// The request for a thread's area of restartable sequences.
const GET_SEQUENCES: libc::c_uint = 0x420f;
/// Bytes of the kernel's set of signals.
const MASK_BYTES: usize = 8;

/// Whether the descriptor `number` of `other` and our own `file` are one open file description.
pub(crate) fn same_file(other: Pid, number: RawFd, file: impl AsFd) -> io::Result<bool> {
    same_file_as(rustix::process::getpid(), other, number, file)
}

/// The same for whoever knows the number of this process, `own`, and need not ask for it.
pub(crate) fn same_file_as(
    own: Pid,
    other: Pid,
    number: RawFd,
    file: impl AsFd,
) -> io::Result<bool> {
    compare(other, own, SAME_FILE, number, file.as_fd().as_raw_fd())
}

/// Whether two threads share one table of descriptors, and one folder and mask.
pub(crate) fn same_tables(one: Pid, other: Pid) -> io::Result<bool> {
    Ok(compare(one, other, SAME_TABLE, 0, 0)? && compare(one, other, SAME_FOLDER, 0, 0)?)
}

fn compare(one: Pid, other: Pid, what: i32, first: RawFd, second: RawFd) -> io::Result<bool> {
    let (one, other) = (one.as_raw_nonzero().get(), other.as_raw_nonzero().get());
    // No crate wraps this call.
    // SAFETY: the call takes numbers only, and changes nothing.
    let order = answered(unsafe { libc::syscall(libc::SYS_kcmp, one, other, what, first, second) });
    Ok(order? == 0)
}

/// Who gets the signals of an open file description; 0 for nobody, negative for a group.
pub(crate) fn owner(file: impl AsFd) -> io::Result<i32> {
    let file = file.as_fd().as_raw_fd();
    // SAFETY: this request takes no argument, and answers by a number.
    match unsafe { libc::fcntl(file, libc::F_GETOWN) } {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// Whether anybody but this process has a lock on a range of the file behind this.
pub(crate) fn is_locked(file: impl AsFd) -> io::Result<bool> {
    // SAFETY: the structure is made of integers, for all of which zero is a value: all of the file.
    let mut lock: libc::flock = unsafe { mem::zeroed() };
    lock.l_type = i16::try_from(libc::F_WRLCK).map_err(io::Error::other)?;
    let pointer: *mut libc::flock = &raw mut lock;
    // SAFETY: the kernel reads and writes a structure of this very layout, which lives until then.
    answered(unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_GETLK, pointer) }.into())?;
    Ok(i32::from(lock.l_type) != libc::F_UNLCK)
}

/// Takes all locks of ranges off that belong to this open file description.
pub(crate) fn unlock(file: impl AsFd) -> io::Result<()> {
    let file = file.as_fd();
    // SAFETY: the structure is made of integers, for all of which zero is a value: all of the file.
    let mut lock: libc::flock = unsafe { mem::zeroed() };
    lock.l_type = i16::try_from(libc::F_UNLCK).map_err(io::Error::other)?;
    let pointer: *const libc::flock = &raw const lock;
    // SAFETY: the kernel reads a structure of this very layout, which lives until it returns.
    answered(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, pointer) }.into())?;
    Ok(())
}

/// The bytes that take all locks of a process off a file: a `struct flock` for its own call.
pub(crate) fn unlocked() -> [u8; mem::size_of::<libc::flock>()] {
    let mut bytes = [0; mem::size_of::<libc::flock>()];
    let kind = libc::F_UNLCK.to_ne_bytes();
    // The first field is the kind; all others are zero for the whole file.
    bytes[..2].copy_from_slice(if cfg!(target_endian = "little") {
        &kind[..2]
    } else {
        &kind[2..]
    });
    bytes
}

/// The value of a socket option, as its bytes.
pub(crate) fn option(socket: impl AsFd, level: i32, name: i32) -> io::Result<Value> {
    let socket = socket.as_fd().as_raw_fd();
    let mut value = Value::default();
    let mut len: libc::socklen_t = value.room();
    let to = value.bytes.as_mut_ptr().cast();
    // Options are compared as they are, so that none has to be understood.
    // SAFETY: the kernel writes `len` bytes at most, which `value` has.
    answered(unsafe { libc::getsockopt(socket, level, name, to, &raw mut len) }.into())?;
    value.len = usize::try_from(len).map_err(io::Error::other)?;
    Ok(value)
}

/// Gives a socket option this value.
pub(crate) fn set_option(socket: impl AsFd, level: i32, name: i32, to: &Value) -> io::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    let len = libc::socklen_t::try_from(to.len).map_err(io::Error::other)?;
    let from = to.bytes.as_ptr().cast();
    // SAFETY: the kernel reads `len` bytes, which `to` has.
    answered(unsafe { libc::setsockopt(socket, level, name, from, len) }.into())?;
    Ok(())
}

/// The name of a socket, its own or its peer's, as its bytes.
pub(crate) fn name(socket: impl AsFd, of_peer: bool) -> io::Result<Value> {
    let socket = socket.as_fd().as_raw_fd();
    let mut value = Value::default();
    let mut len: libc::socklen_t = value.room();
    let to = value.bytes.as_mut_ptr().cast();
    let ask = if of_peer {
        libc::getpeername
    } else {
        libc::getsockname
    };
    // SAFETY: the kernel writes `len` bytes at most, which `value` has.
    answered(unsafe { ask(socket, to, &raw mut len) }.into())?;
    value.len = usize::try_from(len)
        .map_err(io::Error::other)?
        .min(VALUE_MAX_BYTES);
    Ok(value)
}

/// Some bytes that the kernel answered.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    bytes: [u8; VALUE_MAX_BYTES],
    len: usize,
}

impl Default for Value {
    fn default() -> Self {
        Self {
            bytes: [0; VALUE_MAX_BYTES],
            len: 0,
        }
    }
}

impl Value {
    fn room(&self) -> libc::socklen_t {
        libc::socklen_t::try_from(self.bytes.len()).unwrap_or(0)
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The number at this place, in bytes; 0 if there is none.
    pub(crate) fn number(&self, at: usize) -> u32 {
        let bytes = self.bytes().get(at..at + 4);
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_ne_bytes)
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

/// How many bytes a TCP socket was given and has not sent.
pub(crate) fn unsent(socket: impl AsFd) -> io::Result<i32> {
    count(socket, UNSENT)
}

/// How many bytes a socket keeps until they are sent.
pub(crate) fn queued(socket: impl AsFd) -> io::Result<i32> {
    count(socket, QUEUED)
}

fn count(file: impl AsFd, request: libc::Ioctl) -> io::Result<i32> {
    let mut bytes: libc::c_int = 0;
    let pointer: *mut libc::c_int = &raw mut bytes;
    // SAFETY: both requests write one number, for which there is room.
    answered(unsafe { libc::ioctl(file.as_fd().as_raw_fd(), request, pointer) }.into())?;
    Ok(bytes)
}

/// Gives a descriptor that reads signals this set of them.
pub(crate) fn set_signals(file: impl AsFd, mask: u64) -> io::Result<()> {
    let pointer: *const u64 = &raw const mask;
    let file = file.as_fd().as_raw_fd();
    // The C library's set is larger than the kernel's, so it is not asked.
    // SAFETY: the kernel reads a set of this size, which lives until it returns.
    answered(unsafe { libc::syscall(libc::SYS_signalfd4, file, pointer, MASK_BYTES, 0) })?;
    Ok(())
}

/// Address and length of a thread's list of robust locks.
pub(crate) fn robust_list(thread: Pid) -> io::Result<(usize, usize)> {
    let (mut head, mut len) = (0_usize, 0_usize);
    let (to_head, to_len): (*mut usize, *mut usize) = (&raw mut head, &raw mut len);
    let thread = thread.as_raw_nonzero().get();
    // SAFETY: the kernel writes two words, for which there is room.
    answered(unsafe { libc::syscall(libc::SYS_get_robust_list, thread, to_head, to_len) })?;
    Ok((head, len))
}

/// A thread's area of restartable sequences.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Sequences {
    address: u64,
    size: u32,
    signature: u32,
    flags: u32,
    pad: u32,
}

impl Sequences {
    /// Address, length and signature, if there is one.
    pub(crate) fn registered(&self) -> Option<[u64; 3]> {
        let words = [self.address, self.size.into(), self.signature.into()];
        (self.address != 0).then_some(words)
    }
}

/// Gives a socket this name, as [`name`] told it of another one.
pub(crate) fn bind(socket: impl AsFd, to: &Value) -> io::Result<()> {
    let len = libc::socklen_t::try_from(to.len).map_err(io::Error::other)?;
    let from = to.bytes.as_ptr().cast();
    // SAFETY: the kernel reads `len` bytes, which `to` has.
    answered(unsafe { libc::bind(socket.as_fd().as_raw_fd(), from, len) }.into())?;
    Ok(())
}

/// Connects a socket with what has this name, as [`name`] told it of another one's peer.
pub(crate) fn connect(socket: impl AsFd, with: &Value) -> io::Result<()> {
    let len = libc::socklen_t::try_from(with.len).map_err(io::Error::other)?;
    let from = with.bytes.as_ptr().cast();
    // SAFETY: the kernel reads `len` bytes, which `with` has.
    answered(unsafe { libc::connect(socket.as_fd().as_raw_fd(), from, len) }.into())?;
    Ok(())
}

/// Asks for it; only the tracer of a stopped thread is told. `None` if the kernel does not tell.
pub(crate) fn sequences(thread: Pid) -> io::Result<Option<Sequences>> {
    let mut area = Sequences::default();
    let pointer: *mut Sequences = &raw mut area;
    let thread = thread.as_raw_nonzero().get();
    let size = mem::size_of::<Sequences>();
    // SAFETY: the kernel writes `size` bytes at most, in this very layout.
    let asked = answered(unsafe { libc::ptrace(GET_SEQUENCES, thread, size, pointer) });
    match asked {
        Ok(_) => Ok(Some(area)),
        Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A limit of another process.
pub(crate) fn limit(process: Pid, limit: Resource) -> io::Result<Rlimit> {
    // SAFETY: the structure is made of integers, for all of which zero is a value.
    let mut value: libc::rlimit64 = unsafe { mem::zeroed() };
    let pointer: *mut libc::rlimit64 = &raw mut value;
    let process = process.as_raw_nonzero().get();
    let none: *const libc::rlimit64 = std::ptr::null();
    // The safe wrapper asks for this process only.
    // SAFETY: nothing is set, and the kernel writes a structure of this very layout.
    answered(unsafe { libc::syscall(libc::SYS_prlimit64, process, limit as u32, none, pointer) })?;
    let bound = |value| (value != libc::RLIM64_INFINITY).then_some(value);
    Ok(Rlimit {
        current: bound(value.rlim_cur),
        maximum: bound(value.rlim_max),
    })
}

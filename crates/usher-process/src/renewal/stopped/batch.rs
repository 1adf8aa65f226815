//! System calls for the program to make in one go, the bytes they point to, and what they answered.
//!
//! ```text
//!  data area of the agent:  bytes and space │ answers of a round │ table of a round │ free
//! ```
//!
//! The bytes stay at one address while all the calls are made, however many rounds they take.
//! Deliberately absent: how they get into the program, see `inject`.

use thiserror::Error;

use super::Tid;
use super::agent::Agent;

/// Bytes that all of a batch's [`Batch::bytes`] and [`Batch::space`] may take together.
pub(crate) const BYTES_MAX: usize = 48 * 1024;
/// Whatever is put there begins at a multiple of this, in bytes: no call wants more.
const ALIGNED_TO: usize = 16;

/// Calls of other threads: they leave room for as many of the one's that makes the rest.
const OTHERS_MAX: usize = 96;
/// Arguments of a call.
const ARGUMENTS: usize = 6;

/// Where bytes of a batch are in the agent's data area.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pointer {
    /// From the start of the data area.
    offset: usize,
    /// How many bytes are there.
    len: usize,
}

impl Pointer {
    /// Its address in the program, for pointers that are themselves inside of bytes.
    pub(crate) fn address(self, agent: &Agent) -> u64 {
        agent.data().start + self.offset as u64
    }

    /// How many bytes it points to.
    #[cfg(test)]
    pub(crate) fn len(self) -> usize {
        self.len
    }
}

/// One argument of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Argument {
    /// This value.
    Value(u64),
    /// The address of bytes of the same batch.
    At(Pointer),
}

impl From<u64> for Argument {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl From<usize> for Argument {
    fn from(value: usize) -> Self {
        Self::Value(value as u64)
    }
}

impl From<u32> for Argument {
    fn from(value: u32) -> Self {
        Self::Value(value.into())
    }
}

/// Flags and descriptors: -1 becomes a word of ones, as in a register.
impl From<i32> for Argument {
    fn from(value: i32) -> Self {
        i64::from(value).into()
    }
}

impl From<i64> for Argument {
    fn from(value: i64) -> Self {
        Self::Value(u64::from_ne_bytes(value.to_ne_bytes()))
    }
}

impl From<Pointer> for Argument {
    fn from(pointer: Pointer) -> Self {
        Self::At(pointer)
    }
}

/// One system call for the program to make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Call {
    /// The kernel's number for it.
    pub(crate) number: i64,
    /// What it is given.
    pub(crate) arguments: [Argument; ARGUMENTS],
}

impl Call {
    /// A call with these arguments, and zeros after them.
    pub(crate) fn new<const N: usize>(number: i64, given: [Argument; N]) -> Self {
        const { assert!(N <= ARGUMENTS, "a system call has six arguments at most") };
        let mut arguments = [Argument::Value(0); ARGUMENTS];
        for (place, argument) in arguments.iter_mut().zip(given) {
            *place = argument;
        }
        Self { number, arguments }
    }
}

/// What a call must answer; with anything else the batch has failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expect {
    /// No error.
    Ok,
    /// This very value. An error is the negative of its number.
    Value(i64),
    /// Whatever: the caller of the batch looks at it.
    Any,
}

impl Expect {
    /// Whether `answer` is what was expected.
    pub(crate) fn holds(self, answer: i64) -> bool {
        match self {
            Self::Ok => answer >= 0,
            Self::Value(value) => answer == value,
            Self::Any => true,
        }
    }
}

/// The bytes of a batch do not fit into the agent's data area.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error(
    "{wanted} more bytes do not fit into a batch that has {taken} of {BYTES_MAX}; make two batches"
)]
pub(crate) struct Full {
    /// Bytes that were to be added.
    pub(crate) wanted: usize,
    /// Bytes that were there.
    pub(crate) taken: usize,
}

/// Calls that are made in one go, and bytes they point to. All of them are made, in their order,
/// even after one that failed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch {
    pub(super) calls: Vec<(Call, Expect)>,
    pub(super) bytes: Vec<u8>,
    /// Calls that other threads make at the same time.
    pub(super) others: Vec<(Tid, Vec<Call>)>,
}

impl Batch {
    /// Without calls.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Appends a call; returns its place among the answers.
    pub(crate) fn call(&mut self, call: Call, expect: Expect) -> usize {
        self.calls.push((call, expect));
        self.calls.len() - 1
    }

    /// Lets another thread make these calls at the same time, none of which may fail: for what the
    /// kernel keeps per thread. No thread may be named twice, nor the one that makes the others.
    /// False: they have no room, and nothing was added.
    pub(crate) fn call_by(&mut self, thread: Tid, calls: &[Call]) -> bool {
        let made = self.others.iter().map(|(_, calls)| calls.len());
        let fits = made.sum::<usize>() + calls.len() <= OTHERS_MAX;
        if fits {
            self.others.push((thread, calls.to_vec()));
        }
        fits
    }

    /// Puts bytes where calls can point to them; aligned to 16.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<Pointer, Full> {
        let pointer = self.reserve(bytes.len())?;
        self.bytes[pointer.offset..].copy_from_slice(bytes);
        Ok(pointer)
    }

    /// Leaves space, zeroed, for what calls write; read it with [`Answers::bytes`].
    pub(crate) fn space(&mut self, len: usize) -> Result<Pointer, Full> {
        self.reserve(len)
    }

    fn reserve(&mut self, len: usize) -> Result<Pointer, Full> {
        let offset = self.bytes.len().next_multiple_of(ALIGNED_TO);
        let end = offset.checked_add(len).filter(|end| *end <= BYTES_MAX);
        let end = end.ok_or(Full {
            wanted: len,
            taken: self.bytes.len(),
        })?;
        self.bytes.resize(end, 0);
        Ok(Pointer { offset, len })
    }
}

/// What the calls of a batch answered.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    pub(super) values: Vec<i64>,
    pub(super) bytes: Vec<u8>,
}

impl Answers {
    /// What the call at this place answered; an error is the negative of its number. `None`: the
    /// batch had no such call.
    pub(crate) fn value(&self, place: usize) -> Option<i64> {
        self.values.get(place).copied()
    }

    /// The bytes that are at `pointer` after the last call; none if it is of another batch.
    pub(crate) fn bytes(&self, pointer: Pointer) -> &[u8] {
        let range = pointer.offset..pointer.offset + pointer.len;
        self.bytes.get(range).unwrap_or_default()
    }
}

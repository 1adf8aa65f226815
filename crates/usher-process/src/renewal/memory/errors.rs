//! Why a program's memory could not be recorded, put back, or was found different.

use std::io;

use thiserror::Error;
use usher_core::renewal::runs::Span;

use super::sample::Undetermined;
use crate::renewal::stopped::{Full, InjectError};

/// The program has memory that cannot be put back. Nothing was done to it: it can go on, and is
/// replaced after each request.
#[derive(Debug, Error)]
#[error(
    "not renewable: the program has {what} at {:x}-{:x} ({})",
    span.start, span.end, if name.is_empty() { "without a file" } else { name }
)]
pub(crate) struct Unfit {
    /// What kind of memory.
    pub(crate) what: &'static str,
    /// Where it is.
    pub(crate) span: Span,
    /// The file's path, or what the kernel calls it; may be empty.
    pub(crate) name: String,
}

/// The memory of a program could not be recorded. After anything but [`TakeError::Unfit`] the
/// program may be half changed, and must be ended.
#[derive(Debug, Error)]
pub(crate) enum TakeError {
    /// It cannot be put back, and is untouched.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The kernel does not tell which pages were written. The program is untouched.
    #[error("not renewable: this kernel does not tell which pages of a program were written")]
    Blind,
    /// A step failed.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// A step of recording memory or putting it back failed; the program must be replaced.
#[derive(Debug, Error)]
pub(crate) enum Failed {
    /// The platform's own part.
    #[error("could not {step} of the program")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The part that the program was made to do.
    #[error("the program could not be made to {step}")]
    Inject {
        /// What it was to do.
        step: &'static str,
        /// Why not.
        source: InjectError,
    },
    /// A batch had no room.
    #[error(transparent)]
    Full(#[from] Full),
    /// The program took away what cannot be mapped again.
    #[error(
        "the program changed its mapping at {:x}-{:x}, which cannot be repaired",
        .0.start, .0.end
    )]
    Irreparable(Span),
    /// The mappings differ although they were repaired.
    #[error(
        "the program's mapping at {:x}-{:x} is not what it was, although it was repaired",
        .0.start, .0.end
    )]
    Unrepaired(Span),
    /// There are pages of the program's own of which nobody knows what they should hold.
    #[error("the program's memory at {:x}-{:x} was written, and is in no image", .0.start, .0.end)]
    Unrecorded(Span),
    /// There are pages that no search finds.
    #[error(
        "the kernel counts {counted} pages of the program's own, and a search of all its memory \
         finds {found}"
    )]
    Hidden {
        /// Pages by the kernel's count.
        counted: u64,
        /// Pages by search.
        found: u64,
    },
    /// A page that was dropped is still there.
    #[error("a page of the program at {:x} is still there although it was dropped", .0.start)]
    Undropped(Span),
    /// An area was to be shown before it was clean.
    #[error("the program's next area was not scrubbed")]
    Unscrubbed,
    /// Pages are where they were, although they were exchanged.
    #[error("the pages of the program were not exchanged")]
    Unmoved(#[from] Undetermined),
    /// The page that the platform itself spoilt was not put back.
    #[error("the page that was changed to see whether it is put back was not put back")]
    Canary,
}

impl Failed {
    /// For `map_err`: the platform's own step failed.
    pub(super) fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }

    /// For `map_err`: what the program was to do failed.
    pub(super) fn by_program(step: &'static str) -> impl FnOnce(InjectError) -> Self {
        move |source| Self::Inject { step, source }
    }
}

/// Something about a program's memory is not as it was recorded.
#[derive(Debug, Error)]
pub(crate) enum Difference {
    /// A mapping, or the lack of one.
    #[error("the mapping at {:x}-{:x} is not the recorded one", .0.start, .0.end)]
    Mapping(Span),
    /// What the kernel notes about a mapping.
    #[error(
        "the mapping at {:x}-{:x} has the flags `{now}` and had `{recorded}`",
        span.start, span.end
    )]
    Flags {
        /// Where.
        span: Span,
        /// As they are.
        now: String,
        /// As they were.
        recorded: String,
    },
    /// A byte.
    #[error("the byte at {address:x} is {now:#04x} and was {recorded:#04x}")]
    Byte {
        /// Where.
        address: u64,
        /// As it is.
        now: u8,
        /// As it was.
        recorded: u8,
    },
    /// The comparison failed.
    #[error("could not {step} of the program to compare it")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl Difference {
    pub(super) fn at(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

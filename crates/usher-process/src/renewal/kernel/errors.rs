//! What a snapshot refuses, what a run left, and where an audit found a difference.

use std::io;
use std::os::fd::RawFd;

use thiserror::Error;

use crate::renewal::memory;
use crate::renewal::stopped::{Full, InjectError};

/// Why a program's state in the kernel cannot be taken, so that it is not renewed.
#[derive(Debug, Error)]
pub(crate) enum TakeError {
    /// A descriptor of a kind, or in a state, that cannot be put back.
    #[error("descriptor {number} {what}, which cannot be put back")]
    Descriptor {
        /// Its number in the program.
        number: RawFd,
        /// What it is, or does.
        what: String,
    },
    /// Something else that cannot be put back.
    #[error("the program {0}, which cannot be put back")]
    State(String),
    /// The state could not be read.
    #[error("{what} could not be read")]
    Unread {
        /// What it is.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be made to tell.
    #[error("the program could not be asked for its state")]
    Inject(#[from] InjectError),
    /// The questions do not fit.
    #[error("the questions to the program are too many")]
    Full(#[from] Full),
}

/// What a run left that cannot be put back: the program is to be replaced.
#[derive(Debug, Error)]
pub(crate) enum Leftover {
    /// A descriptor.
    #[error("descriptor {number} {what}")]
    Descriptor {
        /// Its number in the program.
        number: RawFd,
        /// What it is, or does.
        what: &'static str,
    },
    /// A connection that the run has closed.
    #[error("descriptor {number} was closed, and could not be given back")]
    NotGiven {
        /// Its number in the program.
        number: RawFd,
        /// Why not.
        #[source]
        source: Box<memory::Failed>,
    },
    /// Processes.
    #[error("{found} processes or threads are in the sandbox, where {expected} were expected")]
    Children {
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
    /// A signal waits to be taken.
    #[error("a signal is pending")]
    Signal,
    /// Something in scratch.
    #[error("{place} {what}")]
    Scratch {
        /// The folder.
        place: &'static str,
        /// What is the matter with it.
        what: String,
    },
    /// Another piece of state.
    #[error("{0}")]
    State(&'static str),
    /// A piece of state could not be read or put back.
    #[error("{what} could not be read or put back")]
    Failed {
        /// What it is.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be made to put something back.
    #[error("the program could not be made to put its state back")]
    Inject(#[from] InjectError),
    /// What is to be put back does not fit into a batch.
    #[error("there is too much to be put back")]
    Full(#[from] Full),
}

/// Where an audit found that a program is not as its snapshot.
#[derive(Debug, Error)]
pub(crate) enum Difference {
    /// A piece of state that reads differently.
    #[error("{piece}: {what}")]
    Found {
        /// Which piece.
        piece: &'static str,
        /// Then and now.
        what: String,
    },
    /// A piece of state could not be read.
    #[error("{piece} could not be read")]
    Unread {
        /// Which piece.
        piece: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be asked.
    #[error("the program could not be asked for its state")]
    Inject(#[from] InjectError),
    /// The questions do not fit.
    #[error("the questions to the program are too many")]
    Full(#[from] Full),
}

/// Says which piece of state an error of the kernel was about.
pub(super) trait About<T> {
    /// While a snapshot was taken.
    fn taking(self, what: &'static str) -> Result<T, TakeError>;
    /// While it was put back.
    fn putting(self, what: &'static str) -> Result<T, Leftover>;
    /// While it was compared.
    fn comparing(self, piece: &'static str) -> Result<T, Difference>;
}

impl<T, E: Into<io::Error>> About<T> for Result<T, E> {
    fn taking(self, what: &'static str) -> Result<T, TakeError> {
        self.map_err(|error| TakeError::Unread {
            what,
            source: error.into(),
        })
    }

    fn putting(self, what: &'static str) -> Result<T, Leftover> {
        self.map_err(|error| Leftover::Failed {
            what,
            source: error.into(),
        })
    }

    fn comparing(self, piece: &'static str) -> Result<T, Difference> {
        self.map_err(|error| Difference::Unread {
            piece,
            source: error.into(),
        })
    }
}

/// An audit's verdict on one piece.
pub(super) fn same<V: PartialEq + std::fmt::Debug>(
    piece: &'static str,
    then: &V,
    now: &V,
) -> Result<(), Difference> {
    if then == now {
        return Ok(());
    }
    let what = format!("was {then:?}, is {now:?}");
    Err(Difference::Found { piece, what })
}

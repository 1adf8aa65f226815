//! What can go wrong, one enum for each operation.

use std::io;
use std::path::PathBuf;

use super::wire::{Failure, Fault};

/// Why no sandboxes can be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder for what must outlive a kill cannot be used.
    #[error("the folder {} for the sandboxes' state cannot be used", folder.display())]
    State {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another platform lives in the folder.
    #[error(
        "another platform uses {}; stop it, or give this one a folder of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// A killed platform's sandboxes do not end.
    #[error(
        "sandboxes of a platform that was killed still run; see who holds {}/sandboxes.lock",
        .0.display()
    )]
    Left(PathBuf),
    /// The spawner could not be started.
    #[error("the spawner {} could not be started", program.display())]
    Spawner {
        /// Its program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The machine permits no sandbox that is safe enough.
    #[error("this machine permits no safe sandbox: {why}")]
    Refused {
        /// What failed, and what to do.
        why: String,
    },
}

/// Why a shell could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShellError {
    /// A step failed.
    #[error("a sandbox could not be made: {0}")]
    Step(String),
    /// The control group failed.
    #[error("the sandbox's control group could not be made")]
    Group(#[source] io::Error),
    /// The socket to spawner or sandbox failed.
    #[error("the sandbox could not be reached")]
    Socket(#[source] io::Error),
    /// The spawner has gone, and could not be started again.
    #[error("the spawner could not be started again")]
    Spawner(#[source] Box<OpenError>),
    /// It took too long.
    #[error("a sandbox was not ready after {0} ms")]
    TooLate(u64),
    /// As many exist as there can be.
    #[error("{0} sandboxes exist already; no more can be made")]
    TooMany(u32),
    /// [`super::Sandboxes::close`] was called.
    #[error("the sandboxes are closed")]
    Closed,
}

impl From<Failure> for ShellError {
    fn from(failure: Failure) -> Self {
        Self::Step(failure.to_string())
    }
}

/// Why a program could not be launched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The command or the environment is not one.
    #[error("{0}")]
    Invalid(&'static str),
    /// Command and environment are too long together.
    #[error("command and environment take more than {most} bytes")]
    TooLong {
        /// What they may take.
        most: usize,
    },
    /// The function's folder cannot be used.
    #[error("the folder {} cannot be used", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program cannot be executed.
    #[error("the program `{program}` cannot be run: {}", told(*fault))]
    Program {
        /// The first word of the command.
        program: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The sandbox could not be finished.
    #[error("the sandbox could not be finished: {0}")]
    Step(String),
    /// The bounds could not be set.
    #[error("the bounds could not be set")]
    Bounds(#[source] io::Error),
    /// The sandbox has gone meanwhile, killed from outside or out of memory.
    #[error("the sandbox ended before its program started")]
    Lost,
    /// The socket to the sandbox failed.
    #[error("the sandbox could not be reached")]
    Socket(#[source] io::Error),
    /// It took too long.
    #[error("the program was not started after {0} ms")]
    TooLate(u64),
}

fn told(fault: Fault) -> String {
    match fault {
        Fault::NotFound => "there is no such file in the sandbox; give a path in the function's \
                            folder, or install it below /usr"
            .to_owned(),
        Fault::NotExecutable => "it must not be executed; set its mode (chmod +x)".to_owned(),
        Fault::WrongFormat => {
            "it is no program for this machine; a script begins with `#!` and its \
                               interpreter"
                .to_owned()
        }
        Fault::NoInterpreter => {
            "it is there, but the interpreter or loader that it names is not".to_owned()
        }
        Fault::TooLong => "arguments and environment are too long".to_owned(),
        Fault::Other(errno) => io::Error::from_raw_os_error(errno).to_string(),
    }
}

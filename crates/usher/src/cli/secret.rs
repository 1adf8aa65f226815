//! The words of `usher secret`. A value is never one of them: arguments of a process can be read by
//! everybody on the machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_core::id::Name;

use super::{List, Remote};

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Set a secret to what standard input or a file holds
    Set(Set),
    /// List secrets: names, when they were set, who uses them
    List(List),
    /// Delete a secret that no function uses
    Delete(Delete),
}

/// `usher secret set`.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The secret's name
    pub(crate) name: Name,
    /// Whose it is
    #[arg(long, default_value = "default")]
    pub(crate) owner: Name,
    /// A file with the value, byte by byte [default: standard input, less its line end]
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `usher secret delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// The secret's name
    pub(crate) name: Name,
    /// Whose it is
    #[arg(long, default_value = "default")]
    pub(crate) owner: Name,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

//! The words of `usher backup` and `usher restore`.

use std::path::PathBuf;

use clap::Args;

use super::Remote;

/// `usher backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Where to write it; - for standard output
    pub(crate) file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `usher restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A file that `usher backup` wrote
    pub(crate) file: PathBuf,
    /// Where an entry is there with another value, keep that
    #[arg(long, conflicts_with = "replace")]
    pub(crate) keep: bool,
    /// Where an entry is there with another value, take that of the back-up
    #[arg(long)]
    pub(crate) replace: bool,
    /// Read the file whole, say what is in it, and restore nothing
    #[arg(long, conflicts_with_all = ["keep", "replace"])]
    pub(crate) check: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

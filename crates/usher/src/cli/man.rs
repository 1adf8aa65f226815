//! The words of `usher man`.

use std::path::PathBuf;

use clap::Args;

/// `usher man`.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// A folder for all pages, one for each command [default: usher's own to standard output]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

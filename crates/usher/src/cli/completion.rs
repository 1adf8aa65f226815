//! The words of `usher completion`.

use clap::Args;
use clap_complete::Shell;

/// `usher completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// For which shell
    pub(crate) shell: Shell,
}

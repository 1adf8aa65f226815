//! The words of `usher owner`.

use clap::{Args, Subcommand};
use usher_core::id::Name;

use super::Remote;
use crate::owner::Bound;

/// What to do with owners.
#[derive(Debug, Subcommand)]
pub(crate) enum Owner {
    /// Set quotas of an owner; what is not named stays
    Set(Set),
    /// Show an owner's quotas
    Show(Show),
    /// List the owners
    List(List),
}

/// `usher owner set`.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The owner
    pub(crate) owner: Name,
    /// How many functions; none: no bound
    #[arg(long, value_name = "N")]
    pub(crate) functions_max: Option<Bound>,
    /// How many requests run at once; none: no bound
    #[arg(long, value_name = "N")]
    pub(crate) concurrency_max: Option<Bound>,
    /// What all environments on a node may use by their bounds, in MiB; none: no bound
    #[arg(long, value_name = "MIB")]
    pub(crate) memory_max_mib: Option<Bound>,
    /// How many requests begin in a second, in the long run; none: no bound
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_s: Option<Bound>,
    /// How many may begin at once after a rest; none: those of a second
    #[arg(long, value_name = "N")]
    pub(crate) burst: Option<Bound>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `usher owner show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The owner
    pub(crate) owner: Name,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `usher owner list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) remote: Remote,
}

//! The words about revisions: `usher alias`, `split`, `rollback`.
//!
//! Deliberately absent: what they do.

use clap::{Args, Subcommand};
use usher_core::traffic::Alias as Name;
use usher_core::traffic::wanted::{Revision, Wanted};

use super::One;

/// `usher alias`.
#[derive(Debug, Subcommand)]
pub(crate) enum Alias {
    /// Point an alias at a revision, or at several with weights; a new one is made
    Set(AliasSet),
    /// List a function's aliases
    List(One),
    /// Delete an alias
    Delete(AliasDelete),
}

/// `usher alias set`.
#[derive(Debug, Args)]
pub(crate) struct AliasSet {
    #[command(flatten)]
    pub(crate) one: One,
    /// The alias; `live` is what the bare name serves
    pub(crate) alias: Name,
    /// Revisions by number, `latest` or the beginning of an id; weights are percent
    #[arg(required = true, value_name = "REVISION[=WEIGHT]")]
    pub(crate) revisions: Vec<Wanted>,
}

/// `usher alias delete`.
#[derive(Debug, Args)]
pub(crate) struct AliasDelete {
    #[command(flatten)]
    pub(crate) one: One,
    /// The alias
    pub(crate) alias: Name,
}

/// `usher split`.
#[derive(Debug, Args)]
pub(crate) struct Split {
    #[command(flatten)]
    pub(crate) one: One,
    /// Revisions by number, `latest` or the beginning of an id; weights are percent
    #[arg(required = true, value_name = "REVISION[=WEIGHT]")]
    pub(crate) revisions: Vec<Wanted>,
}

/// `usher rollback`.
#[derive(Debug, Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) one: One,
    /// The revision that is to serve [default: the one that had all traffic before]
    #[arg(long, value_name = "REVISION")]
    pub(crate) to: Option<Revision>,
}

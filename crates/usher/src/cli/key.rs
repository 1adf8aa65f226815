//! The words of `usher key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use usher_core::api_key::{KeyId, Scope};
use usher_core::id::Name;

use super::{List, Remote};
use crate::key::Expiry;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key, and show it this once
    Create(Create),
    /// List the keys, without their secrets
    List(List),
    /// Take a key back
    Revoke(Revoke),
}

/// `usher key create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// Whose functions it speaks for [default: everybody's]
    #[arg(long)]
    pub(crate) owner: Option<Name>,
    /// What it allows: read, deploy, invoke or admin; may be given several times
    #[arg(long, value_name = "SCOPE", default_values = ["read", "deploy"])]
    pub(crate) scope: Vec<Scope>,
    /// When it expires: after so long (30d, 12h), on a date (2027-01-31, UTC), or never
    #[arg(long, value_name = "WHEN", default_value = "never")]
    pub(crate) expires: Expiry,
    /// What to call it
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) name: String,
    /// Make it in the data folder of a platform that is stopped, for which no key is needed
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

/// `usher key revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The key's id, as `usher key list` shows it
    pub(crate) id: KeyId,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

//! The words of `usher audit`.

use clap::Args;
use usher_core::id::Name;

use super::Remote;
use crate::audit::Since;

/// `usher audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only calls about one owner's things
    #[arg(long)]
    pub(crate) owner: Option<Name>,
    /// Only calls since then: so long ago (2h, 7d), or from a date on (2027-01-31, UTC)
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<Since>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

//! The bodies of the REST API under `/v1`, as JSON.
//!
//! The controller writes them and [`crate::client`] reads them; both use these types, so that they
//! cannot disagree. Deliberately absent: routes and status codes (`usher-controller`).

use serde::{Deserialize, Serialize};
use usher_core::fault::Blame;
use usher_core::function::{Revision, Settings};
use usher_core::id::{Digest, FunctionKey, Name, RevisionId};

use crate::node::{ImageReport, Progress, RevisionStatus};
use crate::record::{FunctionRecord, PastRevision};
use crate::traffic::{AliasView, RevisionView, ShareView};

/// The media type of a body with one JSON value per line.
pub const NDJSON: &str = "application/x-ndjson";

/// The largest answer that is read as one JSON value, in bytes. Streams have no such bound; each
/// line has.
pub const ANSWER_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How many functions one page shows where the caller asks for no number.
pub const PAGE_DEFAULT: usize = 100;
/// How many functions one page shows at most.
pub const PAGE_MAX: usize = 1_000;

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong, for a program and for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", self.details.iter().map(|one| format!("\n  {one}")).collect::<String>())]
pub struct ErrorDetail {
    /// A word that stays the same between versions, such as `no-such-function`.
    pub label: String,
    /// What happened, where, and what to do.
    pub message: String,
    /// Who has to act.
    pub blame: Blame,
    /// Every single mistake, where there are several.
    #[serde(default)]
    pub details: Vec<String>,
}

/// The answer to `POST /v1/artifacts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactStored {
    /// What to call the artifact from now on.
    pub digest: Digest,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Whether it was stored before.
    pub existed: bool,
}

/// The body of `POST /v1/functions`. The server reads it with [`crate::manifest::deploy_request`],
/// which checks it whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeployRequest {
    /// Whose function; none: `default`.
    pub owner: Option<Name>,
    /// The function's name.
    pub name: Name,
    /// The artifact, stored before.
    pub artifact: Digest,
    /// How it is run.
    pub settings: Settings,
}

impl DeployRequest {
    /// Which function it is about.
    pub fn function(&self) -> FunctionKey {
        FunctionKey {
            owner: self.owner.clone().unwrap_or_else(Name::default_owner),
            name: self.name.clone(),
        }
    }
}

/// One line of a deployment that is followed; the last one is `deployed` or `error`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployEvent {
    /// A step has begun.
    Progress(Progress),
    /// The function answers.
    Deployed(Box<Deployed>),
    /// It was not deployed; what served before still serves.
    Error(ErrorDetail),
}

/// What a deployment came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Whether the function is new.
    pub created: bool,
    /// Whether the very same revision served before, so that nothing was changed.
    pub unchanged: bool,
    /// The number of the revision that was deployed; 0 where an older platform does not tell.
    #[serde(default)]
    pub number: u64,
    /// Whether it waits for traffic, as it was deployed without any.
    #[serde(default)]
    pub staged: bool,
    /// The function as it stands now.
    pub function: FunctionView,
}

/// A function as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionView {
    /// Whose it is.
    pub owner: Name,
    /// Its name.
    pub name: Name,
    /// The revision that requests go to; of several the one with the largest share.
    pub revision: Revision,
    /// What the bare name serves.
    #[serde(default)]
    pub traffic: Vec<ShareView>,
    /// Its other aliases.
    #[serde(default)]
    pub aliases: Vec<AliasView>,
    /// The revision that was deployed without traffic and waits for some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<u64>,
    /// When it was first deployed, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// When it was last changed, in microseconds since the Unix epoch.
    pub updated_us: u64,
    /// Where it answers.
    pub urls: Vec<String>,
    /// What making its image ready came to; none until the node has made it since it started.
    pub image: Option<ImageReport>,
    /// How it stands on the node.
    pub status: RevisionStatus,
}

/// One page of functions, in the order of owner and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionPage {
    /// The functions.
    pub functions: Vec<FunctionView>,
    /// Where the next page begins, as `after`; none: this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The revisions of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revisions {
    /// The one that requests go to; of several the one with the largest share.
    pub current: PastRevision,
    /// The others, newest first.
    pub earlier: Vec<PastRevision>,
    /// All of them, newest first, with what each gets.
    #[serde(default)]
    pub revisions: Vec<RevisionView>,
}

impl Revisions {
    /// Those of a record; `status` says how one stands on the node.
    pub fn of(record: &FunctionRecord, status: impl Fn(RevisionId) -> RevisionStatus) -> Self {
        Self {
            current: PastRevision {
                id: record.current.id,
                number: record.current.number,
                deployed_us: record.current_deployed_us(),
            },
            earlier: record.history.clone(),
            revisions: crate::traffic::revisions(record, status),
        }
    }
}

/// The answer to `DELETE /v1/functions/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Whose it was.
    pub owner: Name,
    /// Its name.
    pub name: Name,
    /// The revision that served last.
    pub revision: RevisionId,
}

/// The answer to `GET /readyz` and `GET /healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// Whether all is up.
    pub ready: bool,
}

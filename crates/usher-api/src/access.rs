//! Who may ask for what: bodies of the API about keys, owners and the audit log, and where the
//! backbone keeps them.
//!
//! Deliberately absent: what a key is and what it allows (`usher_core::api_key`), and whom it is
//! held against (`usher-controller`).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use usher_core::api_key::{KeyId, KeyRecord, Scope};
use usher_core::id::{Digest, Name, RequestId};
use usher_core::owner::Quotas;

/// The records of all keys stand under this prefix of the backbone, by id.
pub const KEYS_PREFIX: &str = "keys.";
/// The records of all owners that have quotas stand under this prefix, by name.
pub const OWNERS_PREFIX: &str = "owners.";
/// Which owner has stored which artifact stands under this prefix.
pub const UPLOADS_PREFIX: &str = "uploads.";
/// How many keys there may be; so many are told in one answer.
pub const KEYS_MAX: usize = 10_000;

/// Where a key's record stands.
pub fn key_entry(id: KeyId) -> String {
    format!("{KEYS_PREFIX}{id}")
}

/// Where an owner's record stands.
pub fn owner_entry(owner: &Name) -> String {
    format!("{OWNERS_PREFIX}{owner}")
}

/// Where it stands that this owner has stored this artifact.
pub fn upload_entry(owner: &Name, artifact: &Digest) -> String {
    format!("{UPLOADS_PREFIX}{owner}.{artifact}")
}

/// The body of `POST /v1/keys`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyRequest {
    /// Whose functions it speaks for; none: everybody's.
    pub owner: Option<Name>,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// From when on it is not taken any more, in microseconds since the Unix epoch; none: it does
    /// not expire.
    pub expires_us: Option<u64>,
    /// What people call it.
    pub label: String,
}

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// Which.
    pub id: KeyId,
    /// Whose functions it speaks for; none: everybody's.
    pub owner: Option<Name>,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created_us: u64,
    /// From when on it is not taken any more, in the same; none: it does not expire.
    pub expires_us: Option<u64>,
    /// Whether that time has come.
    pub expired: bool,
    /// What people call it.
    pub label: String,
}

impl KeyView {
    /// A key as it stands at this time.
    pub fn of(record: &KeyRecord, now_us: u64) -> Self {
        Self {
            id: record.id,
            owner: record.owner.clone(),
            scopes: record.scopes.clone(),
            created_us: record.created_us,
            expires_us: record.expires_us,
            expired: record.expired(now_us),
            label: record.label.clone(),
        }
    }
}

/// The answer to `POST /v1/keys`; `Debug` shows nothing of the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyMade {
    /// The key itself, which is told this once only.
    pub secret: String,
    /// Whether the API asks for a key from now on.
    pub closed: bool,
    /// What is kept of it.
    #[serde(flatten)]
    pub key: KeyView,
}

impl fmt::Debug for KeyMade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyMade({})", self.key.id)
    }
}

/// The answer to `GET /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The keys, by id.
    pub keys: Vec<KeyView>,
}

/// An owner, and what of its quotas is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerView {
    /// Who.
    pub owner: Name,
    /// What it may have at once.
    pub quotas: Quotas,
    /// Functions that are deployed.
    pub functions: usize,
}

/// The answer to `GET /v1/owners`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owners {
    /// All that have functions or quotas, by name.
    pub owners: Vec<OwnerView>,
}

/// By what right a call was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// By a key.
    Key,
    /// By the platform, on itself.
    Platform,
    /// By whoever reaches the API while it has no keys.
    Anyone,
    /// By none: without a key, or with one that is not taken.
    Nobody,
}

/// One call of the API, as the audit log keeps it. There is no body, query or secret in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// When it came, in microseconds since the Unix epoch.
    pub time_us: u64,
    /// Its id, which the answer carries as `x-request-id`.
    pub request: RequestId,
    /// By what right.
    pub who: Who,
    /// By which key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// Whom that key speaks for; none: for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_owner: Option<Name>,
    /// Address and port of the client.
    pub client: String,
    /// The method.
    pub method: String,
    /// The path, shortened where it is very long.
    pub path: String,
    /// Whose things it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Name>,
    /// Which function it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Name>,
    /// The status of the answer; 499: the client went away before it.
    pub status: u16,
    /// The label of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Until it was answered, in microseconds.
    pub took_us: u64,
}

/// Which lines of the audit log to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// Only those about this owner's things.
    pub owner: Option<Name>,
    /// Only those from then on, in microseconds since the Unix epoch.
    pub since_us: Option<u64>,
    /// Go on with new lines as they come.
    pub follow: bool,
}

impl AuditQuery {
    /// Whether a line is asked for.
    pub fn wants(&self, line: &AuditLine) -> bool {
        let late_enough = self
            .since_us
            .is_none_or(|since_us| line.time_us >= since_us);
        late_enough && (self.owner.is_none() || self.owner == line.owner)
    }
}

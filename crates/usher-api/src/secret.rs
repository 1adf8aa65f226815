//! Secrets as roles speak of them: who gives values to engines, and what the API shows.
//!
//! ```text
//!   PUT /v1/secrets/NAME ──► controller, seals it ──► backbone
//!   engine, makes an image ──► SecretSource, opens it ──► Secret
//! ```
//!
//! A value goes in by the API and never comes out by it. Deliberately absent: sealing
//! (`usher-controller`).

use serde::{Deserialize, Serialize};
use usher_core::id::Name;
use usher_core::secret::Secret;

use crate::invoke::BoxFuture;

/// What the API shows of a secret: that it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Whose it is.
    pub owner: Name,
    /// Its name.
    pub name: Name,
    /// How often it was set.
    pub version: u64,
    /// When it was set last, in microseconds since the Unix epoch.
    pub set_us: u64,
    /// Whether the key of this platform opens it. One that is not readable can be set anew.
    pub readable: bool,
    /// The functions of its owner that are granted it.
    pub used_by: Vec<Name>,
}

/// The answer to `GET /v1/secrets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretList {
    /// The secrets, by owner and name.
    pub secrets: Vec<SecretView>,
}

/// The answer to `DELETE /v1/secrets/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretDeleted {
    /// Whose it was.
    pub owner: Name,
    /// Its name.
    pub name: Name,
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSecret {
    /// Nobody has set it.
    #[error("the secret {name} of owner {owner} is not set; `usher secret set {name}` sets it")]
    Missing {
        /// Whose.
        owner: Name,
        /// Which.
        name: Name,
    },
    /// It was sealed by another key, or changed from outside.
    #[error(
        "the secret {name} of owner {owner} cannot be opened ({reason}); put the key back that it \
         was sealed with, or set the secret anew"
    )]
    Unreadable {
        /// Whose.
        owner: Name,
        /// Which.
        name: Name,
        /// What is wrong.
        reason: String,
    },
    /// It could not be read.
    #[error("the secret {name} of owner {owner} could not be read: {reason}")]
    Unavailable {
        /// Whose.
        owner: Name,
        /// Which.
        name: Name,
        /// Why.
        reason: String,
    },
}

/// Gives the values of secrets to whoever makes environments.
pub trait SecretSource: Send + Sync + 'static {
    /// The present value.
    fn secret<'a>(
        &'a self,
        owner: &'a Name,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Secret, NoSecret>>;
}

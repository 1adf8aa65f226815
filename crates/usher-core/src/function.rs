//! Functions, their revisions, and the settings that belong to a revision.
//!
//! A *function* is a name with an owner; a *revision* is one immutable deployment of it: an
//! artifact and settings. Deliberately absent: reading the manifest (`usher-api`), storing anything
//! (`usher-controller`).

use serde::{Deserialize, Serialize};

use crate::id::{Digest, FunctionKey, RevisionId};

/// One immutable deployment of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Digest over owner, artifact and settings; see [`Revision::identity`].
    pub id: RevisionId,
    /// The function that it is a deployment of.
    pub function: FunctionKey,
    /// Counts the function's deployments from 1.
    pub number: u64,
    /// The artifact's bytes, by digest.
    pub artifact: Digest,
    /// How it is run.
    pub settings: Settings,
}

impl Revision {
    /// The text whose SHA-256 digest is the revision's id. Two revisions share an id exactly when
    /// owner, name, artifact and settings are the same.
    pub fn identity(function: &FunctionKey, artifact: &Digest, settings: &Settings) -> String {
        // A struct's derived `Debug` names every field, so a new setting changes the identity by
        // itself.
        format!("usher-revision-1\n{function}\n{artifact}\n{settings:?}\n")
    }
}

/// What separates one request's state from the next one's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Every request begins in a clean area.
    #[default]
    Request,
    /// State is kept from request to request, on purpose.
    None,
}

/// By what means an environment is made clean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RenewalChoice {
    /// Live where it is proven for the artifact, else fresh.
    #[default]
    Auto,
    /// Live, or the deployment is refused.
    Live,
    /// A new instance for every request.
    Fresh,
}

/// When a used area is changed for a clean one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RenewWhen {
    /// As soon as the reply is complete: nothing secret stays, and the cost is off the request's
    /// path.
    #[default]
    AfterRun,
    /// When the next request claims the environment: idle environments cost no work.
    BeforeRun,
}

/// How a revision is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// What separates requests.
    pub isolation: Isolation,
    /// By what means.
    pub renewal: RenewalChoice,
    /// When.
    pub renew: RenewWhen,
    /// Bounds on what one invocation may use.
    pub limits: Limits,
    /// How many environments are kept ready, and how long.
    pub keep: Keep,
    /// Where outbound HTTP may go: origins or hosts, see `usher_core::outbound`. Empty: nowhere.
    pub outbound: Vec<String>,
    /// Leave the `usher-run` header out of replies.
    pub hide_proof: bool,
}

/// Bounds on what one invocation may use. Every default works; every bound has its unit in its
/// name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Until the response's head, in milliseconds.
    pub first_byte_max_ms: u64,
    /// Between two pieces of the response's body, in milliseconds.
    pub idle_max_ms: u64,
    /// The whole invocation, in milliseconds; none: no such bound.
    pub total_max_ms: Option<u64>,
    /// All linear memories of an environment together, in MiB.
    pub memory_max_mib: u32,
    /// Elements of one table.
    pub table_max_elements: u32,
    /// Core instances in one environment.
    pub instances_max: u32,
    /// Requests that run at once.
    pub concurrency_max: u32,
    /// Requests that wait for one of those to end.
    pub queue_max: u32,
    /// How long a request may wait, in milliseconds.
    pub queue_wait_max_ms: u64,
    /// The request's body, in bytes; none: no bound, it is streamed.
    pub body_max_bytes: Option<u64>,
    /// Live handles of one environment.
    pub handles_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte_max_ms: 30_000,
            idle_max_ms: 60_000,
            total_max_ms: None,
            memory_max_mib: 256,
            table_max_elements: 200_000,
            instances_max: 100,
            concurrency_max: 64,
            queue_max: 1_000,
            queue_wait_max_ms: 10_000,
            body_max_bytes: None,
            handles_max: 10_000,
        }
    }
}

/// How many environments are kept ready without a request, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keep {
    /// Environments that stay for ever; 0: scale to zero.
    pub ready_min: u32,
    /// How long an environment above that number may stay unused, in seconds.
    pub idle_max_s: u64,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            ready_min: 0,
            idle_max_s: 300,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn identity_differs_by_owner_name_artifact_and_any_setting() {
        let key = |owner: &str, name: &str| FunctionKey {
            owner: owner.parse().unwrap(),
            name: name.parse().unwrap(),
        };
        let settings = Settings::default();
        let mut tighter = settings.clone();
        tighter.limits.idle_max_ms += 1;
        let all = [
            Revision::identity(&key("a", "f"), &Digest([0; 32]), &settings),
            Revision::identity(&key("b", "f"), &Digest([0; 32]), &settings),
            Revision::identity(&key("a", "g"), &Digest([0; 32]), &settings),
            Revision::identity(&key("a", "f"), &Digest([1; 32]), &settings),
            Revision::identity(&key("a", "f"), &Digest([0; 32]), &tighter),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one));
        }
        assert_eq!(
            all[0],
            Revision::identity(&key("a", "f"), &Digest([0; 32]), &settings)
        );
    }
}

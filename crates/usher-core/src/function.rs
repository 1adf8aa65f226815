//! Functions, their revisions, and the settings that belong to a revision.
//!
//! A *function* is a name with an owner; a *revision* is one immutable deployment of it: an
//! artifact and settings. Deliberately absent: reading the manifest (`usher-api`), storing anything
//! (`usher-controller`).

mod events;
mod identity;
mod process;
mod sample;

use serde::{Deserialize, Serialize};

pub use events::{EventMode, Events};
pub use process::{AREA_MEMORY, Contract, PORT_MARK, Process};
pub use sample::{Lint, LintChoice, Sample};

use crate::cors::Cors;
use crate::id::{Digest, FunctionKey, RevisionId};
use crate::key::KeySource;

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
        identity::text(function, artifact, settings)
    }
}

/// What separates one request's state from the next one's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Every request begins in a clean area.
    #[default]
    Request,
    /// State is kept within a key, and never crosses it: each key owns one whole environment.
    Key(KeySource),
    /// State is kept from request to request, on purpose.
    None,
}

impl Isolation {
    /// Whether what a request leaves in its environment is kept for a next one.
    pub const fn keeps(&self) -> bool {
        matches!(self, Self::Key(_) | Self::None)
    }

    /// Where requests name their key, if state is kept by key.
    pub const fn key(&self) -> Option<&KeySource> {
        match self {
            Self::Key(source) => Some(source),
            Self::Request | Self::None => None,
        }
    }
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
    /// A new instance, or a new process, for every request.
    Fresh,
    /// A program's memory is swapped, or the deployment is refused.
    Swap,
    /// A program is put back where it is, or the deployment is refused.
    InPlace,
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

/// Who may call a function at the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InvokeBy {
    /// Whoever reaches the gateway.
    #[default]
    Public,
    /// Whoever shows a key of the owner with the scope `invoke`.
    Key,
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
    /// Who may call it.
    pub invoke: InvokeBy,
    /// Leave the `usher-run` header out of replies.
    pub hide_proof: bool,
    /// What is served before anybody is served, in this order: by each new program, or by the
    /// instance of a component that its clean image is taken of.
    pub warm_up: Vec<Sample>,
    /// Whether a deployment looks for values that a renewal repeats.
    pub lint: Lint,
    /// How the artifact is started, where it is the folder of a Linux program; none: it is a wasm
    /// component.
    pub process: Option<Process>,
    /// Which pages of other origins may call it; none: the gateway says nothing about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cors: Option<Cors>,
    /// How it takes CloudEvents.
    pub events: Events,
}

/// Bounds on what one invocation may use. Every default works; every bound has its unit in its
/// name. Tables, instances and handles are a component's; start, tasks, scratch, files, processor
/// and grace are a program's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Until the response's head, in milliseconds.
    pub first_byte_max_ms: u64,
    /// Between two pieces of the response's body, in milliseconds.
    pub idle_max_ms: u64,
    /// The whole invocation, in milliseconds; none: no such bound.
    pub total_max_ms: Option<u64>,
    /// All linear memories of a component's environment together, or all memory of a program and
    /// its children, in MiB.
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
    /// From the start of a program until it can take a request, in milliseconds.
    pub start_max_ms: u64,
    /// Processes and threads of one environment together.
    pub tasks_max: u32,
    /// What a program may write to its scratch folder, in MiB; it counts as memory too.
    pub scratch_max_mib: u32,
    /// Files and sockets that one process may hold open.
    pub files_max: u32,
    /// Processor time of one environment, in thousandths of a core; none: no such bound.
    pub cpu_max_millis: Option<u32>,
    /// From the request to end until a program is killed, in milliseconds.
    pub grace_max_ms: u64,
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
            start_max_ms: 10_000,
            tasks_max: 64,
            scratch_max_mib: 64,
            files_max: 1_024,
            cpu_max_millis: None,
            grace_max_ms: 2_000,
        }
    }
}

/// Whether one more environment is kept beside one that serves, so that no request waits for a
/// renewal (`keep::twin`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Twins {
    /// Where requests wait for renewals, and processors and memory are free.
    #[default]
    Auto,
    /// As soon as a request has waited for a renewal, however busy the processors are.
    Always,
    /// Never.
    Off,
}

/// How many environments are kept ready without a request, and how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keep {
    /// Environments that stay for ever; 0: scale to zero.
    pub ready_min: u32,
    /// How long an environment above that number may stay unused, in seconds.
    pub idle_max_s: u64,
    /// Keys that have an environment, where state is kept by key; at least 1. One more, and the
    /// state of the one used least recently is lost.
    pub keys_max: u32,
    /// How long the environment of a key may stay unused, in seconds.
    pub key_idle_max_s: u64,
    /// Whether one serves while another one is renewed.
    pub twins: Twins,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            ready_min: 0,
            idle_max_s: 300,
            keys_max: 1_000,
            key_idle_max_s: 300,
            twins: Twins::Auto,
        }
    }
}

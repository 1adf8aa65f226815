//! What a controller asks of a node: make images ready, give them up, tell how things stand, show
//! logs.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use usher_core::fault::Blame;
use usher_core::function::Revision;
use usher_core::id::{FunctionKey, Name, RequestId, RevisionId};
use usher_core::proof::Proof;

use crate::invoke::BoxFuture;

/// How an image serves requests, found out when it was made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One environment for many requests, put back after each.
    Live,
    /// A new instance for each request.
    Fresh,
    /// A new process for each request.
    Replaced,
    /// One environment for many requests, state kept on purpose.
    Kept,
}

/// What making an image ready came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageReport {
    /// The revision it is the image of.
    pub revision: RevisionId,
    /// How it serves.
    pub mode: Mode,
    /// Why it is not served live, one whole sentence each; empty where it is.
    pub reasons: Vec<String>,
    /// What else was noticed, one whole sentence each; it changes nothing.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether the compiled code came from the cache.
    pub cached: bool,
    /// What compiling took, in milliseconds; 0 from the cache.
    pub compile_ms: u64,
    /// Compiled code, in bytes.
    pub code_bytes: u64,
    /// Clean image of all memories, in bytes.
    pub image_bytes: u64,
}

/// A step of making an image ready, for people who wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done now, such as "compiling".
    pub step: String,
}

/// Why an image could not be made ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct PrepareFault {
    /// Whose fault it is.
    pub blame: Blame,
    /// What happened, where, and what to do.
    pub message: String,
}

/// One line of a function's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Microseconds since the Unix epoch.
    pub time_us: u64,
    /// The request it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestId>,
    /// Which revision wrote it.
    pub revision: RevisionId,
    /// What it is.
    #[serde(flatten)]
    pub event: LogEvent,
}

/// One line of the logs of several functions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionLogLine {
    /// Whose line it is.
    #[serde(flatten)]
    pub function: FunctionKey,
    /// The line.
    #[serde(flatten)]
    pub line: LogLine,
}

/// What a log line says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum LogEvent {
    /// The guest wrote a line to standard output.
    Stdout {
        /// The line, without its end.
        text: String,
    },
    /// The guest wrote a line to standard error.
    Stderr {
        /// The line, without its end.
        text: String,
    },
    /// A request was served or failed.
    Request {
        /// Method and path.
        target: String,
        /// The status that the caller got.
        status: u16,
        /// From the node's receipt to the reply's head, in microseconds.
        took_us: u64,
        /// The beginning of the SHA-256 digest of its key, where the function keeps state by key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// How it was served; none where no environment was reached.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Proof>,
        /// What went wrong, with its inner cause.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// The platform has something to say: a trap, an audit that failed, a limit.
    Platform {
        /// The sentence.
        text: String,
    },
}

/// Which lines to show.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LogQuery {
    /// At most so many of the latest lines.
    pub tail: Option<usize>,
    /// Go on with new lines as they come.
    pub follow: bool,
    /// Only those of one request.
    pub request: Option<RequestId>,
    /// Leave out requests that were served without a fault.
    pub quiet: bool,
}

/// How one revision stands on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionStatus {
    /// Environments that could run a request now.
    pub clean: u32,
    /// Environments that run one.
    pub busy: u32,
    /// Environments that are being renewed or scrubbed.
    pub renewing: u32,
    /// Environments that are being started.
    pub starting: u32,
    /// Requests that wait for an environment.
    pub waiting: u32,
    /// Keys that have an environment, where state is kept by key.
    #[serde(default)]
    pub keys: u32,
    /// Environments beside those that requests needed at once lately, so that one serves while
    /// another one is renewed.
    #[serde(default)]
    pub twins: u32,
    /// Why so many; empty where that was not judged yet.
    #[serde(default)]
    pub twins_because: String,
    /// Environments taken out of service because something about them could not be proven.
    pub quarantined: u64,
    /// Requests served since the node started.
    pub served: u64,
    /// Environments started since then.
    pub started: u64,
    /// How often the artifact was compiled since then.
    pub compiled: u64,
    /// How often the compiled code was loaded since then.
    pub loaded: u64,
    /// Renewals compared whole, and those of them that failed.
    pub audits: u64,
    /// See `audits`.
    pub audits_failed: u64,
}

impl LogQuery {
    /// Whether a line is asked for, by what it says.
    pub fn wants(&self, line: &LogLine) -> bool {
        let served = matches!(line.event, LogEvent::Request { error: None, .. });
        let asked = self.request.is_none() || self.request == line.request;
        asked && !(self.quiet && served)
    }
}

/// A node, as a controller sees it.
pub trait NodeControl: Send + Sync + 'static {
    /// Makes the revision's image ready: compiled, checked, and able to serve. Joined per artifact.
    fn prepare(
        &self,
        revision: Arc<Revision>,
        progress: mpsc::Sender<Progress>,
    ) -> BoxFuture<'_, Result<ImageReport, PrepareFault>>;

    /// Has so many environments of a revision started that is ready, before anybody needs them;
    /// returns when they are there, or when no more can be had just now. It is a courtesy: what
    /// fails here is told in the log, and nobody is refused for it.
    fn start_ahead(&self, _revision: RevisionId, _environments: u32) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Gives the revision up: from the first poll on no new request begins on it; the future ends
    /// when those that run are finished and its environments are gone. Preparing it again, even
    /// before that end, puts it back into service.
    fn retire(&self, revision: RevisionId) -> BoxFuture<'_, ()>;

    /// A secret has another value. When the future has ended no request begins any more in an
    /// environment that was given the old one. Those that run are finished in theirs; kept state of
    /// functions that use the secret is lost.
    fn secret_changed<'a>(&'a self, owner: &'a Name, secret: &'a Name) -> BoxFuture<'a, ()>;

    /// The revision's image, where it is ready.
    fn image(&self, revision: RevisionId) -> Option<ImageReport>;

    /// How the revision stands.
    fn status(&self, revision: RevisionId) -> RevisionStatus;

    /// The function's log, oldest line first.
    fn logs(&self, function: &FunctionKey, query: LogQuery) -> BoxStream<'static, LogLine>;

    /// The logs of all functions, or of those of one owner, oldest line first; functions that come
    /// to be while it follows are among them.
    fn all_logs(&self, owner: Option<Name>, query: LogQuery)
    -> BoxStream<'static, FunctionLogLine>;
}

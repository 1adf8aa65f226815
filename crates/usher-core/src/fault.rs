//! Whose fault a failed invocation is, and what follows from that.
//!
//! One enum of causes and one function over it: status code, retry and metric label all come from
//! here, so that no two places can disagree. Deliberately absent: texts with an inner cause, which
//! belong to the log only.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::KeyFlaw;
use crate::owner::Quota;

/// Who has to act so that it does not happen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The client that sent the request.
    Caller,
    /// The deployed code.
    Function,
    /// Usher itself, or the machine under it.
    Platform,
}

/// Why an invocation failed. Closed: a new cause is a new line in [`Fault::judge`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Fault {
    /// No function answers at this address.
    NoSuchFunction,
    /// The request is not one that can be served (bad target, bad header).
    BadRequest,
    /// The function keeps state by key, and the request does not name one.
    BadKey {
        /// The header that is to name it.
        header: String,
        /// What is wrong with it.
        flaw: KeyFlaw,
    },
    /// The request is a CloudEvent that breaks the rules of one.
    BadEvent {
        /// All mistakes.
        mistakes: String,
    },
    /// The request is a CloudEvent in a form that the function does not take.
    EventForm {
        /// The media type.
        form: String,
    },
    /// An event is too large to be converted.
    EventTooLarge {
        /// The bound, in bytes.
        event_max_bytes: u64,
    },
    /// The function answered with a CloudEvent that breaks the rules of one.
    BadReplyEvent {
        /// All mistakes.
        mistakes: String,
    },
    /// The request's body is larger than the function accepts.
    BodyTooLarge {
        /// The bound, in bytes.
        body_max_bytes: u64,
    },
    /// The request has more headers than are read.
    HeadTooLarge {
        /// The bound, in headers.
        headers_max: u32,
    },
    /// The request's body stopped coming while the function waited for it.
    SlowBody {
        /// The bound, in milliseconds.
        body_stall_max_ms: u64,
    },
    /// The client went away before the reply was complete.
    CallerGone,
    /// The waiting room is full, or the wait in it took too long.
    Busy {
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// A bound over all functions of the owner is reached.
    OwnerBusy {
        /// Which.
        quota: Quota,
        /// When to try again, in seconds.
        retry_after_s: u32,
    },
    /// The function asks for a key, and the request brings none that may call it.
    KeyNeeded,
    /// The code trapped, or ended without setting a response.
    Trap,
    /// The code used more memory than its limit.
    OutOfMemory {
        /// The bound, in bytes.
        memory_max_bytes: u64,
    },
    /// A time limit ran out.
    TimeOut {
        /// Which limit.
        limit: TimeLimit,
        /// The bound, in milliseconds.
        limit_ms: u64,
    },
    /// The environment could not be started for a reason in the code (it traps while it is
    /// instantiated).
    StartFailed,
    /// No environment could be had, for a reason of ours or of the machine.
    Unavailable,
    /// The platform is shutting down.
    Draining,
}

/// The time limits of one invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeLimit {
    /// Until the response's head.
    FirstByte,
    /// Between two pieces of the response's body.
    Idle,
    /// The whole invocation.
    Total,
}

impl TimeLimit {
    /// The setting's name in the manifest.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::FirstByte => "limits.first_byte_max_ms",
            Self::Idle => "limits.idle_max_ms",
            Self::Total => "limits.total_max_ms",
        }
    }
}

/// What follows from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whose fault it is.
    pub blame: Blame,
    /// HTTP status for the caller.
    pub status: u16,
    /// Metric label and `error` field of the JSON body.
    pub label: &'static str,
    /// Whether the same request may be sent again without having run before.
    pub retry: bool,
}

impl Fault {
    /// Whose fault it is, and what follows.
    pub const fn judge(&self) -> Judgement {
        let (blame, status, label, retry) = match self {
            Self::NoSuchFunction => (Blame::Caller, 404, "no-such-function", false),
            Self::BadRequest => (Blame::Caller, 400, "bad-request", false),
            Self::BadKey { .. } => (Blame::Caller, 400, "bad-key", false),
            Self::BadEvent { .. } => (Blame::Caller, 400, "bad-event", false),
            Self::EventForm { .. } => (Blame::Caller, 415, "event-form", false),
            Self::EventTooLarge { .. } => (Blame::Caller, 413, "event-too-large", false),
            Self::BadReplyEvent { .. } => (Blame::Function, 502, "bad-reply-event", false),
            Self::BodyTooLarge { .. } => (Blame::Caller, 413, "body-too-large", false),
            Self::HeadTooLarge { .. } => (Blame::Caller, 431, "head-too-large", false),
            Self::SlowBody { .. } => (Blame::Caller, 408, "slow-body", false),
            Self::CallerGone => (Blame::Caller, 499, "caller-gone", false),
            Self::Busy { .. } => (Blame::Platform, 429, "busy", true),
            Self::OwnerBusy { .. } => (Blame::Function, 429, "owner-busy", true),
            Self::KeyNeeded => (Blame::Caller, 401, "key-needed", false),
            Self::Trap => (Blame::Function, 502, "trap", false),
            Self::OutOfMemory { .. } => (Blame::Function, 502, "out-of-memory", false),
            Self::TimeOut { .. } => (Blame::Function, 504, "time-out", false),
            Self::StartFailed => (Blame::Function, 502, "start-failed", false),
            Self::Unavailable => (Blame::Platform, 503, "unavailable", true),
            Self::Draining => (Blame::Platform, 503, "draining", true),
        };
        Judgement {
            blame,
            status,
            label,
            retry,
        }
    }

    /// What is said of what an owner may have and asks for.
    fn tell_owner(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnerBusy {
                quota,
                retry_after_s,
            } => write!(
                f,
                "the function's owner has reached its {quota}, which holds over all of its \
                 functions; try again in {retry_after_s} s, or have it raised with \
                 `usher owner set`"
            ),
            Self::KeyNeeded => f.write_str(
                "the function is called with a key of its owner that has the scope invoke: \
                 send it as `authorization: Bearer KEY`",
            ),
            _ => Ok(()),
        }
    }

    /// What is said of CloudEvents.
    fn tell_event(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadEvent { mistakes } => write!(f, "the CloudEvent cannot be read: {mistakes}"),
            Self::EventForm { form } => write!(
                f,
                "the function takes no CloudEvents in the form {form}; send single ones, in \
                 headers or as application/cloudevents+json"
            ),
            Self::EventTooLarge { event_max_bytes } => write!(
                f,
                "the CloudEvent is larger than {event_max_bytes} bytes; \
                 raise events.event_max_bytes to allow it"
            ),
            Self::BadReplyEvent { mistakes } => {
                write!(
                    f,
                    "the function answered with a wrong CloudEvent: {mistakes}"
                )
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchFunction => f.write_str(
                "no function answers at this address; `usher list` shows those that are deployed",
            ),
            Self::BadRequest => f.write_str("the request cannot be served as it is"),
            Self::BadKey { header, flaw } => write!(
                f,
                "the function keeps state by the header {header}, and {flaw}; \
                 send it exactly once, with a value"
            ),
            Self::BadEvent { .. }
            | Self::EventForm { .. }
            | Self::EventTooLarge { .. }
            | Self::BadReplyEvent { .. } => self.tell_event(f),
            Self::BodyTooLarge { body_max_bytes } => write!(
                f,
                "the request's body is larger than {body_max_bytes} bytes; \
                 raise limits.body_max_bytes to allow it"
            ),
            Self::HeadTooLarge { headers_max } => {
                write!(
                    f,
                    "the request has more than {headers_max} headers; send fewer"
                )
            }
            Self::SlowBody { body_stall_max_ms } => write!(
                f,
                "nothing of the request's body came for {body_stall_max_ms} ms while the function \
                 waited for it; send it without such a pause"
            ),
            Self::CallerGone => f.write_str("the client went away before the reply was complete"),
            Self::Busy { retry_after_s } => write!(
                f,
                "all environments of the function are busy and the waiting room is full; \
                 try again in {retry_after_s} s"
            ),
            Self::OwnerBusy { .. } | Self::KeyNeeded => self.tell_owner(f),
            Self::Trap => f.write_str(
                "the function stopped with an error before it had answered; `usher logs` shows it",
            ),
            Self::OutOfMemory { memory_max_bytes } => write!(
                f,
                "the function asked for more than {memory_max_bytes} bytes of memory; \
                 raise limits.memory_max_mib to allow it"
            ),
            Self::TimeOut { limit, limit_ms } => write!(
                f,
                "the function took longer than {limit_ms} ms; raise {} to allow it",
                limit.setting()
            ),
            Self::StartFailed => f.write_str(
                "the function could not be started because of an error in it; \
                 `usher logs` shows it",
            ),
            Self::Unavailable => {
                f.write_str("no environment could be had for the function; `usher logs` shows why")
            }
            Self::Draining => f.write_str("the platform is shutting down"),
        }
    }
}

impl std::error::Error for Fault {}

//! Why a call of a program failed, whose fault that is, and what the caller is answered.
//!
//! A caller of a Lambda function gets AWS's own answer where AWS has one. Where the platform's own
//! answer says more to a caller of the function's URL (a time limit, a lack of memory), it is that.
//!
//! Deliberately absent: who finds out (`run`), what becomes of the program.

use std::fmt;
use std::time::Duration;

use usher_api::body::Body;
use usher_core::fault::{Fault, TimeLimit};
use usher_core::function::Limits;
use usher_core::id::RequestId;

use crate::cause::chain;
use crate::contract::lambda::{self, Ending, InvokeError, RestoreError, Style};
use crate::contract::port::CallError;
use crate::sandbox::Exit;
use crate::served::NotRestored;
use crate::start::NotStarted;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The contract says so.
    Call(CallFailed),
    /// The program ended.
    Exited(Exit),
    /// A time limit ran out, of so many milliseconds.
    Late(TimeLimit, u64),
    /// The caller went away.
    Gone,
}

/// Why a call failed, in the words of its contract.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailed {
    #[error(transparent)]
    Lambda(#[from] InvokeError),
    #[error(transparent)]
    Http(#[from] CallError),
}

impl CallFailed {
    /// Whether the program may have ended, which is then the better reason.
    pub(crate) fn may_be_an_exit(&self) -> bool {
        match self {
            Self::Lambda(InvokeError::Closed | InvokeError::Stream(lambda::Broken::Cut)) => true,
            Self::Lambda(_) => false,
            Self::Http(CallError::Connect { .. } | CallError::Closed | CallError::Broken(_)) => {
                true
            }
            Self::Http(_) => false,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Lambda(error) => error.fault(),
            Self::Http(CallError::Request(_)) => Fault::BadRequest,
            Self::Http(CallError::RequestBody(_) | CallError::Dropped) => Fault::CallerGone,
            Self::Http(_) => Fault::Trap,
        }
    }
}

impl Failure {
    /// Whose fault it is.
    pub(crate) fn fault(&self, limits: &Limits) -> Fault {
        match self {
            Self::Call(failed) => failed.fault(),
            Self::Exited(Exit::OutOfMemory) => Fault::OutOfMemory {
                memory_max_bytes: u64::from(limits.memory_max_mib) << 20,
            },
            Self::Exited(Exit::Lost(_)) => Fault::Unavailable,
            Self::Exited(Exit::Code(_) | Exit::Signal(_)) => Fault::Trap,
            Self::Late(limit, limit_ms) => Fault::TimeOut {
                limit: *limit,
                limit_ms: *limit_ms,
            },
            Self::Gone => Fault::CallerGone,
        }
    }

    /// Whether the program has no part in it, and can be called again.
    pub(crate) fn spares_program(&self) -> bool {
        match self {
            Self::Call(CallFailed::Lambda(error)) => error.spares_environment(),
            Self::Call(CallFailed::Http(error)) => matches!(error, CallError::Request(_)),
            Self::Exited(_) | Self::Late(..) | Self::Gone => false,
        }
    }

    /// The same in AWS's words, where AWS has any.
    pub(crate) fn of_lambda(&self) -> Option<lambda::Failure> {
        Some(match self {
            Self::Late(_, limit_ms) => lambda::Failure::TimedOut {
                after: Duration::from_millis(*limit_ms),
            },
            Self::Exited(exit) => lambda::Failure::Exited(ending(exit)),
            Self::Call(CallFailed::Lambda(InvokeError::Init(error))) => {
                lambda::Failure::Init(error.clone())
            }
            Self::Call(_) | Self::Gone => return None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(failed) => f.write_str(&chain(failed)),
            Self::Exited(exit) => write!(f, "the program {}", ended(exit)),
            Self::Late(limit, limit_ms) => write!(
                f,
                "the program took longer than {} = {limit_ms}",
                limit.setting()
            ),
            Self::Gone => f.write_str("nobody read the reply to its end"),
        }
    }
}

/// How callers of a program call it, and are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answers {
    /// As the platform answers.
    Ours,
    /// As AWS does.
    Lambda(Style),
}

impl Answers {
    /// AWS's answer, where there is one that says no less than ours.
    pub(crate) fn answer(self, id: RequestId, failure: &Failure) -> Option<http::Response<Body>> {
        let Self::Lambda(style) = self else {
            return None;
        };
        let ours = matches!(
            failure,
            Failure::Late(..) | Failure::Exited(Exit::OutOfMemory)
        );
        if ours && style == Style::Url {
            return None;
        }
        let failure = failure.of_lambda()?;
        Some(lambda::answer(style, id, &failure))
    }

    /// The same for a program that did not start.
    pub(crate) fn not_started(
        self,
        id: RequestId,
        error: &NotStarted,
    ) -> Option<http::Response<Body>> {
        let Self::Lambda(style) = self else {
            return None;
        };
        let failure = match error {
            NotStarted::Init { error, .. } => lambda::Failure::Init(error.clone()),
            NotStarted::Restore { error, .. } => match error {
                NotRestored::Api(RestoreError::Reported(error)) => {
                    lambda::Failure::Restore(error.clone())
                }
                NotRestored::Api(RestoreError::Late(wait_max_ms)) => {
                    lambda::Failure::RestoreTimedOut {
                        after: Duration::from_millis(*wait_max_ms),
                    }
                }
                NotRestored::Api(RestoreError::Closed) => return None,
                NotRestored::Exited(exit) => lambda::Failure::Exited(ending(exit)),
            },
            NotStarted::Exited { exit, .. } => lambda::Failure::Exited(ending(exit)),
            NotStarted::Late { start_max_ms, .. } => lambda::Failure::TimedOut {
                after: Duration::from_millis(*start_max_ms),
            },
            _ => return None,
        };
        Some(lambda::answer(style, id, &failure))
    }
}

/// How a program ended, as the end of a sentence about it.
pub(crate) fn ended(exit: &Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exited with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal} ({})", signal_name(*signal)),
        Exit::OutOfMemory => "used more memory than limits.memory_max_mib".to_owned(),
        Exit::Lost(why) => format!("was lost: {why}"),
    }
}

fn ending(exit: &Exit) -> Ending {
    match exit {
        Exit::Code(code) => Ending::Status(*code),
        Exit::Signal(signal) => Ending::Signal(signal_name(*signal)),
        Exit::OutOfMemory => Ending::Signal(signal_name(SIGKILL)),
        Exit::Lost(_) => Ending::Unknown,
    }
}

const SIGKILL: i32 = 9;

/// What a signal does, in the words that AWS's messages use.
fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        SIGKILL => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        15 => "terminated",
        24 => "CPU time limit exceeded",
        25 => "file size limit exceeded",
        31 => "bad system call",
        _ => "unknown signal",
    }
}

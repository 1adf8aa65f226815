//! Why an environment does not become ready, and why an invocation has no answer.
//!
//! A function's own error is neither: it is an answer (`failure`).

use usher_api::body::BodyError;
use usher_core::fault::Fault;

use super::desk::IDLE_CALLS_MAX;
use super::failure::FunctionError;
use super::stream::Broken;

/// Why an environment does not become ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// The program says that its initialisation failed. It exits by itself as a rule.
    #[error("the function's initialisation failed with {}", .0.error_type)]
    Reported(FunctionError),
    /// The Runtime API has ended before the program asked for an event.
    #[error("the Runtime API ended before the function was ready")]
    Closed,
}

/// Why a program whose state was taken or given back cannot be given an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The program says that one of its hooks failed. It exits by itself as a rule.
    #[error("a hook that runs after a restore failed with {}", .0.error_type)]
    Reported(FunctionError),
    /// Its hooks have not come to their end.
    #[error("the hooks that run after a restore took longer than {0} ms")]
    Late(u64),
    /// The Runtime API has ended before the program asked for an event.
    #[error("the Runtime API ended while hooks ran after a restore")]
    Closed,
}

/// Why an invocation has no answer, or why an answer's body broke off.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// The request makes an event that is too large. The program has not seen it.
    #[error("the request, as an event, is larger than {body_max_bytes} bytes")]
    BodyTooLarge {
        /// The bound.
        body_max_bytes: u64,
    },
    /// The request's body broke off. The program has not seen it.
    #[error("the request's body broke off before the function was called")]
    Request(#[source] BodyError),
    /// The program cannot take events: its initialisation failed.
    #[error("the function's initialisation failed with {}", .0.error_type)]
    Init(FunctionError),
    /// A streamed reply broke off after its head had left.
    #[error(transparent)]
    Stream(Broken),
    /// The program calls the Runtime API for nothing, over and over.
    #[error("the program made more than {IDLE_CALLS_MAX} calls that lead nowhere")]
    Disorder,
    /// The Runtime API has ended.
    #[error("the Runtime API of this environment has ended")]
    Closed,
}

impl InvokeError {
    /// What the caller is to be told, and whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::BodyTooLarge { body_max_bytes } => Fault::BodyTooLarge {
                body_max_bytes: *body_max_bytes,
            },
            Self::Request(BodyError::Fault(fault)) => fault.clone(),
            Self::Request(_) | Self::Stream(Broken::CallerGone) => Fault::CallerGone,
            Self::Init(_) => Fault::StartFailed,
            Self::Stream(Broken::Function(_) | Broken::Cut) | Self::Disorder => Fault::Trap,
            Self::Closed => Fault::Unavailable,
        }
    }

    /// Whether the environment can serve another request all the same.
    pub fn spares_environment(&self) -> bool {
        match self {
            Self::BodyTooLarge { .. } | Self::Request(_) => true,
            Self::Stream(Broken::Function(_)) => true,
            Self::Stream(_) | Self::Init(_) | Self::Disorder | Self::Closed => false,
        }
    }
}

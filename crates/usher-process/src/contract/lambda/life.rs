//! The life of one environment's Runtime API: which call of the program, or of the platform, is
//! legal, and what it leads to.
//!
//! ```text
//! Starting ─next→ Idle ─invoke→ Offered ─next→ Running ─response, error→ Replying ─end→ Replied
//!    │              ▲ ▲─next                     ▲ │next: the same event again            │
//!    └─init error→ Failed                        └─┘                                      │
//!                   └───────────────────────────next──────────────────────────────────────┘
//!
//! Starting ─restore next→ RestoreReady ─restore→ Restoring ─next→ Idle
//!                              └─init error→ Failed  └─restore error→ RestoreFailed
//! ```
//!
//! Invariant: a reply is taken once for each invocation, and only under its own id.
//! Deliberately absent: HTTP, waiting, time. An end by time-out or exit has no state here: the
//! whole environment goes with it.

use std::fmt;

use usher_core::id::RequestId;

/// Where the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It runs its initialisation.
    Starting,
    /// It has reported that its initialisation failed.
    Failed,
    /// It waits for its state to be taken and given back.
    RestoreReady,
    /// It runs its hooks after that.
    Restoring,
    /// It has reported that one of them failed.
    RestoreFailed,
    /// It has asked for an event, and there is none.
    Idle,
    /// There is an event, and the program has not taken it yet.
    Offered(RequestId),
    /// It has the event.
    Running(RequestId),
    /// Its reply is being read.
    Replying(RequestId),
    /// Its reply is complete; it has not asked for another event yet.
    Replied(RequestId),
}

/// What happened. The id of a reply is None where the program's text is no id at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The program asks for an event.
    Next,
    /// The program begins to send a result.
    Response(Option<RequestId>),
    /// The program begins to send an error.
    Error(Option<RequestId>),
    /// The program reports that its initialisation failed.
    InitError,
    /// The program waits for its state to be given back.
    RestoreNext,
    /// Its state was taken, or given back.
    Restore,
    /// The program reports that a hook failed.
    RestoreError,
    /// The platform has a request.
    Invoke(RequestId),
    /// The reply was read to its end, or broke off.
    End,
}

/// What is to be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Let the program wait for an event.
    Wait,
    /// Give it the event.
    Deliver,
    /// Read its reply.
    Take,
    /// Note the error.
    Note,
    /// Wake the program's call, if one waits.
    Wake,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It names no invocation that is under way.
    #[error("Invalid request ID")]
    RequestId,
    /// It comes out of turn.
    #[error(
        "State transition from {from} to {to} failed for runtime. \
         Error: State transition is not allowed"
    )]
    Transition {
        /// Where the program is.
        from: Word,
        /// Where the call would have led.
        to: Word,
    },
}

/// A state by the name that AWS's own server gives it in its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(&'static str);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl State {
    fn word(self) -> Word {
        Word(match self {
            Self::Starting => "Started",
            Self::Failed => "InitError",
            Self::RestoreReady => "RestoreReady",
            Self::Restoring => "Restoring",
            Self::RestoreFailed => "RuntimeRestoreErrorState",
            Self::Idle | Self::Offered(_) => "Ready",
            Self::Running(_) => "Running",
            Self::Replying(_) => "InvocationResponse",
            Self::Replied(_) => "RuntimeResponseSentState",
        })
    }

    /// The invocation that the program may reply to, or has just replied to.
    fn invocation(self) -> Option<RequestId> {
        match self {
            Self::Running(id) | Self::Replying(id) | Self::Replied(id) => Some(id),
            Self::Starting
            | Self::Failed
            | Self::RestoreReady
            | Self::Restoring
            | Self::RestoreFailed
            | Self::Idle
            | Self::Offered(_) => None,
        }
    }
}

impl Event {
    fn word(self) -> Word {
        Word(match self {
            Self::Next => "Ready",
            Self::Response(_) => "InvocationResponse",
            Self::Error(_) => "InvocationErrorResponse",
            Self::InitError => "InitError",
            Self::RestoreNext => "RestoreReady",
            Self::Restore => "Restoring",
            Self::RestoreError => "RuntimeRestoreErrorState",
            Self::Invoke(_) => "Running",
            Self::End => "RuntimeResponseSentState",
        })
    }
}

/// The next state, and what is to be done for it. As AWS's server does, an id is looked at before
/// the turn, and a program that asks again while it has an event is given the same one.
pub(super) fn step(state: State, event: Event) -> Result<(State, Action), Refusal> {
    if let Event::Response(id) | Event::Error(id) = event
        && (id.is_none() || id != state.invocation())
    {
        return Err(Refusal::RequestId);
    }
    Ok(match (state, event) {
        (State::Starting | State::Restoring | State::Idle | State::Replied(_), Event::Next) => {
            (State::Idle, Action::Wait)
        }
        (State::Offered(id) | State::Running(id), Event::Next) => {
            (State::Running(id), Action::Deliver)
        }
        (State::Running(id), Event::Response(_) | Event::Error(_)) => {
            (State::Replying(id), Action::Take)
        }
        // The hooks that run before its state is taken are a part of the initialisation.
        (State::Starting | State::RestoreReady, Event::InitError) => (State::Failed, Action::Note),
        (State::Starting, Event::RestoreNext) => (State::RestoreReady, Action::Wait),
        (State::RestoreReady, Event::Restore) => (State::Restoring, Action::Wake),
        (State::Restoring, Event::RestoreError) => (State::RestoreFailed, Action::Note),
        (State::Idle, Event::Invoke(id)) => (State::Offered(id), Action::Wake),
        (State::Replying(id), Event::End) => (State::Replied(id), Action::Wake),
        (state, event) => {
            return Err(Refusal::Transition {
                from: state.word(),
                to: event.word(),
            });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: RequestId = RequestId(1);
    const TWO: RequestId = RequestId(2);

    /// What is legal; every other event is refused for its turn.
    const LEGAL: &[(State, Event, State, Action)] = {
        use Action::{Deliver, Note, Take, Wait, Wake};
        use State::{
            Failed, Idle, Offered, Replied, Replying, RestoreFailed, RestoreReady, Restoring,
            Running, Starting,
        };
        &[
            (Starting, Event::Next, Idle, Wait),
            (Starting, Event::InitError, Failed, Note),
            (Starting, Event::RestoreNext, RestoreReady, Wait),
            (RestoreReady, Event::InitError, Failed, Note),
            (RestoreReady, Event::Restore, Restoring, Wake),
            (Restoring, Event::RestoreError, RestoreFailed, Note),
            (Restoring, Event::Next, Idle, Wait),
            (Idle, Event::Next, Idle, Wait),
            (Idle, Event::Invoke(ONE), Offered(ONE), Wake),
            (Offered(ONE), Event::Next, Running(ONE), Deliver),
            (Running(ONE), Event::Next, Running(ONE), Deliver),
            (
                Running(ONE),
                Event::Response(Some(ONE)),
                Replying(ONE),
                Take,
            ),
            (Running(ONE), Event::Error(Some(ONE)), Replying(ONE), Take),
            (Replying(ONE), Event::End, Replied(ONE), Wake),
            (Replied(ONE), Event::Next, Idle, Wait),
        ]
    };

    #[test]
    fn the_table_is_whole() {
        use State::{
            Failed, Idle, Offered, Replied, Replying, RestoreFailed, RestoreReady, Restoring,
            Running, Starting,
        };
        let states = [
            Starting,
            Failed,
            RestoreReady,
            Restoring,
            RestoreFailed,
            Idle,
            Offered(ONE),
            Running(ONE),
            Replying(ONE),
            Replied(ONE),
        ];
        let events = [
            Event::Next,
            Event::Response(Some(ONE)),
            Event::Response(Some(TWO)),
            Event::Response(None),
            Event::Error(Some(ONE)),
            Event::Error(Some(TWO)),
            Event::Error(None),
            Event::InitError,
            Event::RestoreNext,
            Event::Restore,
            Event::RestoreError,
            Event::Invoke(ONE),
            Event::End,
        ];
        for state in states {
            for event in events {
                let row = LEGAL.iter().find(|row| (row.0, row.1) == (state, event));
                let replies = matches!(event, Event::Response(_) | Event::Error(_));
                let own = matches!(event, Event::Response(Some(ONE)) | Event::Error(Some(ONE)))
                    && state.invocation().is_some();
                let found = step(state, event);
                match row {
                    Some(row) => assert_eq!(found, Ok((row.2, row.3)), "{state:?} {event:?}"),
                    None if replies && !own => assert_eq!(found, Err(Refusal::RequestId)),
                    None => assert!(
                        matches!(found, Err(Refusal::Transition { .. })),
                        "{state:?} {event:?} {found:?}"
                    ),
                }
            }
        }
    }

    #[test]
    fn a_refusal_speaks_as_the_original_does() {
        let refusal = step(State::Replied(ONE), Event::Response(Some(ONE)));
        assert_eq!(
            refusal.map_err(|refusal| refusal.to_string()),
            Err(
                "State transition from RuntimeResponseSentState to InvocationResponse failed \
                 for runtime. Error: State transition is not allowed"
                    .to_owned()
            )
        );
    }
}

//! The life of one environment: which move is legal, and what its keeper must then do.
//!
//! ```text
//! Starting ─ready→ Clean ─claim→ Claimed ─determined→ Busy
//!
//! Busy ─replied→ Renewing, then offer     (after-run)
//!              → Used                     (before-run)   ─claim→ Renewing, then run
//!              → Kept             (isolation by key, none) ─claim→ Claimed
//!
//! Renewing ─clean→ Clean, or Claimed if it was claimed before
//!          ─audit due→ Auditing ─audit passed→ the same
//!
//! Claimed ─determination failed→ Quarantined ◄─audit failed─ Auditing
//! Claimed ─given back→ Clean or Kept;  Used ─renew→ Renewing;  any ─fault, stop→ Dead
//! ```
//!
//! Invariants: from `Claim` to `Run` there is always a determination that passed. Unless state is
//! kept on purpose, between `Replied` and the next `Run` there is always a `Clean` (or an audit
//! that passed). A failed determination or audit ends in `Quarantined`, from where only `Dead` is
//! left.
//!
//! Deliberately absent: clocks, tasks, engines, areas. The keeper performs the [`Action`].

use crate::function::{Isolation, RenewWhen};

/// When an environment of a revision is renewed, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// As soon as the reply is complete.
    AfterRun,
    /// When the next request claims it.
    BeforeRun,
    /// Never: state is kept on purpose, for one key or for all.
    Keep,
}

impl Policy {
    /// The policy that a revision's settings ask for.
    pub const fn of(isolation: &Isolation, renew: RenewWhen) -> Self {
        match (isolation, renew) {
            (Isolation::Key(_) | Isolation::None, _) => Self::Keep,
            (Isolation::Request, RenewWhen::AfterRun) => Self::AfterRun,
            (Isolation::Request, RenewWhen::BeforeRun) => Self::BeforeRun,
        }
    }
}

/// What happens once an environment is clean again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// It is offered to anybody.
    Offer,
    /// It goes to the request that has already claimed it.
    Run,
}

impl Then {
    const fn reached(self) -> (State, Action) {
        match self {
            Self::Offer => (State::Clean, Action::Offer),
            Self::Run => (State::Claimed, Action::Determine),
        }
    }
}

/// Where an environment is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Being made.
    Starting,
    /// In a clean area, free to be claimed.
    Clean,
    /// A request has it; the pointer has not been read yet.
    Claimed,
    /// A request runs in it.
    Busy,
    /// Replied and not renewed; may be claimed, and is then renewed before it runs.
    Used,
    /// Replied, its state kept on purpose; may be claimed.
    Kept,
    /// Its area is being changed for a clean one.
    Renewing(Then),
    /// Its clean area is being compared whole with the image.
    Auditing(Then),
    /// Not to be trusted: never run again, kept apart until it is ended.
    Quarantined,
    /// Gone.
    Dead,
}

impl State {
    /// Whether a request may claim an environment in this state.
    pub const fn claimable(self) -> bool {
        matches!(self, Self::Clean | Self::Used | Self::Kept)
    }

    /// Whether there is no way back from this state.
    pub const fn ended(self) -> bool {
        matches!(self, Self::Quarantined | Self::Dead)
    }

    /// The word for log and metric label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Clean => "clean",
            Self::Claimed => "claimed",
            Self::Busy => "busy",
            Self::Used => "used",
            Self::Kept => "kept",
            Self::Renewing(_) => "renewing",
            Self::Auditing(_) => "auditing",
            Self::Quarantined => "quarantined",
            Self::Dead => "dead",
        }
    }
}

/// What happened to an environment. Closed: a new cause is a new line in [`step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// It is made and stands in a clean area.
    Ready,
    /// A request takes it.
    Claim,
    /// The request that had claimed it went away before anything ran.
    GivenBack,
    /// The pointer was read and names the area that the ledger names.
    Determined,
    /// The pointer was read and names another area, or could not be read.
    DeterminationFailed,
    /// The run is over: the reply is complete and nothing of the run is pending.
    Replied,
    /// Renew it while nobody has claimed it.
    Renew,
    /// The area was changed for a clean one.
    Clean,
    /// The area was changed for a clean one, and this one is to be audited before it is used.
    AuditDue,
    /// The audit found the area equal to the image.
    AuditPassed,
    /// The audit found a difference.
    AuditFailed,
    /// A trap, a time-out, a cancelled call or a failed renewal.
    Fault,
    /// It is not needed any more.
    Stop,
}

/// What the keeper of an environment must do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Tell the pool that it may be claimed.
    Offer,
    /// Read the pointer itself and compare it with the ledger: [`crate::area::determine`].
    Determine,
    /// Run the request that has claimed it.
    Run,
    /// Change its area for a clean one.
    Renew,
    /// Compare the clean area whole with the image.
    Audit,
    /// Take it out of the pool for good, report it, and end it: [`crate::audit::follow`].
    Quarantine,
    /// Destroy it; the request in it, if any, fails.
    Kill,
}

/// A move that the life of an environment does not have. It is always a mistake of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an environment that is {state:?} cannot take {event:?}; it must be destroyed")]
pub struct IllegalMove {
    /// Where it was, and still is.
    pub state: State,
    /// What was tried.
    pub event: Event,
}

/// The next state, and what is to be done for it.
pub const fn step(
    policy: Policy,
    state: State,
    event: Event,
) -> Result<(State, Action), IllegalMove> {
    Ok(match (state, event) {
        (State::Dead, event) => return Err(IllegalMove { state, event }),
        (_, Event::Fault | Event::Stop) => (State::Dead, Action::Kill),
        (State::Starting, Event::Ready) => (State::Clean, Action::Offer),
        (State::Clean | State::Kept, Event::Claim) => (State::Claimed, Action::Determine),
        (State::Claimed, Event::Determined) => (State::Busy, Action::Run),
        (State::Claimed, Event::DeterminationFailed) => (State::Quarantined, Action::Quarantine),
        (State::Claimed, Event::GivenBack) => match policy {
            Policy::AfterRun | Policy::BeforeRun => (State::Clean, Action::Offer),
            Policy::Keep => (State::Kept, Action::Offer),
        },
        (State::Busy, Event::Replied) => match policy {
            Policy::AfterRun => (State::Renewing(Then::Offer), Action::Renew),
            Policy::BeforeRun => (State::Used, Action::Offer),
            Policy::Keep => (State::Kept, Action::Offer),
        },
        (State::Used, Event::Claim) => (State::Renewing(Then::Run), Action::Renew),
        (State::Used, Event::Renew) => (State::Renewing(Then::Offer), Action::Renew),
        (State::Renewing(then), Event::Clean) => then.reached(),
        (State::Renewing(then), Event::AuditDue) => (State::Auditing(then), Action::Audit),
        (State::Auditing(then), Event::AuditPassed) => then.reached(),
        (State::Auditing(_), Event::AuditFailed) => (State::Quarantined, Action::Quarantine),
        (state, event) => return Err(IllegalMove { state, event }),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn walk(policy: Policy, events: &[Event]) -> Result<(State, Action), IllegalMove> {
        events
            .iter()
            .try_fold((State::Starting, Action::Kill), |(state, _), event| {
                step(policy, state, *event)
            })
    }

    #[test]
    fn each_policy_goes_its_own_way_after_the_reply() {
        use Event::{Claim, Clean, Determined, Ready, Replied};
        let run = [Ready, Claim, Determined, Replied];
        let again = |policy, tail: &[Event]| walk(policy, &[&run, tail].concat());

        let renewing = State::Renewing(Then::Offer);
        assert_eq!(again(Policy::AfterRun, &[]), Ok((renewing, Action::Renew)));
        assert_eq!(
            again(Policy::AfterRun, &[Claim]),
            Err(IllegalMove {
                state: renewing,
                event: Claim
            })
        );
        assert_eq!(
            again(Policy::AfterRun, &[Clean, Claim]),
            Ok((State::Claimed, Action::Determine))
        );
        assert_eq!(
            again(Policy::BeforeRun, &[Claim]),
            Ok((State::Renewing(Then::Run), Action::Renew))
        );
        assert_eq!(
            again(Policy::BeforeRun, &[Claim, Clean, Determined]),
            Ok((State::Busy, Action::Run))
        );
        assert_eq!(
            again(Policy::Keep, &[Claim, Determined]),
            Ok((State::Busy, Action::Run))
        );
    }

    #[test]
    fn settings_name_the_policy() {
        use RenewWhen::{AfterRun, BeforeRun};
        let by_key = Isolation::Key("header:x-tenant".parse().unwrap());
        for (isolation, renew, policy) in [
            (&Isolation::Request, AfterRun, Policy::AfterRun),
            (&Isolation::Request, BeforeRun, Policy::BeforeRun),
            (&Isolation::None, AfterRun, Policy::Keep),
            (&Isolation::None, BeforeRun, Policy::Keep),
            (&by_key, AfterRun, Policy::Keep),
            (&by_key, BeforeRun, Policy::Keep),
        ] {
            assert_eq!(Policy::of(isolation, renew), policy);
        }
    }
}

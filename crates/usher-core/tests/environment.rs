//! The life of an environment against a naive twin that remembers the whole history.

use proptest::prelude::*;
use usher_core::environment::{Action, Event, Policy, State, Then, step};

const EVENTS: [Event; 13] = [
    Event::Ready,
    Event::Claim,
    Event::GivenBack,
    Event::Determined,
    Event::DeterminationFailed,
    Event::Replied,
    Event::Renew,
    Event::Clean,
    Event::AuditDue,
    Event::AuditPassed,
    Event::AuditFailed,
    Event::Fault,
    Event::Stop,
];

const STATES: [State; 12] = [
    State::Starting,
    State::Clean,
    State::Claimed,
    State::Busy,
    State::Used,
    State::Kept,
    State::Renewing(Then::Offer),
    State::Renewing(Then::Run),
    State::Auditing(Then::Offer),
    State::Auditing(Then::Run),
    State::Quarantined,
    State::Dead,
];

const POLICIES: [Policy; 3] = [Policy::AfterRun, Policy::BeforeRun, Policy::Keep];

/// What may not be forgotten, derived from the history alone.
fn may_run(history: &[Event], policy: Policy) -> bool {
    let last = |wanted: &[Event]| history.iter().rposition(|event| wanted.contains(event));
    let clean = last(&[Event::Ready, Event::Clean, Event::AuditPassed]);
    let dirty = last(&[Event::Replied, Event::AuditDue]);
    let determined = last(&[Event::Determined]);
    let claimed = last(&[Event::Claim]);
    let ended = last(&[
        Event::DeterminationFailed,
        Event::AuditFailed,
        Event::Fault,
        Event::Stop,
    ]);
    clean.is_some()
        && (policy == Policy::Keep || clean > dirty)
        && determined > claimed
        && claimed.is_some()
        && ended.is_none()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Events are drawn so that legal ones are likely: half of the time one that the state takes.
    #[test]
    fn a_run_is_always_clean_determined_and_claimed(
        policy in prop::sample::select(&POLICIES[..]),
        draws in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..80),
    ) {
        let mut state = State::Starting;
        let mut history = Vec::new();
        for (legal, index) in draws {
            let legal_events: Vec<Event> = EVENTS
                .into_iter()
                .filter(|event| step(policy, state, *event).is_ok())
                .filter(|event| !matches!(event, Event::Fault | Event::Stop))
                .collect();
            let event = if legal && !legal_events.is_empty() {
                legal_events[index.index(legal_events.len())]
            } else {
                EVENTS[index.index(EVENTS.len())]
            };
            let was = state;
            match step(policy, state, event) {
                Ok((next, action)) => {
                    history.push(event);
                    prop_assert!(!was.ended() || next == State::Dead, "{was:?} came back");
                    prop_assert_eq!(next == State::Busy, action == Action::Run);
                    if action == Action::Run {
                        prop_assert!(may_run(&history, policy), "{:?}", history);
                    }
                    state = next;
                }
                Err(refused) => prop_assert_eq!((refused.state, refused.event), (was, event)),
            }
        }
    }
}

#[test]
fn every_pair_of_state_and_event_keeps_the_law() {
    for policy in POLICIES {
        for state in STATES {
            assert_eq!(step(policy, state, Event::Claim).is_ok(), state.claimable());
            for event in EVENTS {
                let Ok((next, action)) = step(policy, state, event) else {
                    continue;
                };
                assert_eq!(
                    action == Action::Run,
                    state == State::Claimed && next == State::Busy
                );
                assert_eq!(action == Action::Kill, next == State::Dead);
                assert_eq!(action == Action::Quarantine, next == State::Quarantined);
                assert_eq!(action == Action::Offer, next.claimable());
                assert!(!state.ended() || next == State::Dead);
                if state == State::Busy && policy != Policy::Keep {
                    assert!(next != State::Clean && next != State::Kept && next != State::Claimed);
                }
            }
        }
    }
}

#[test]
fn quarantined_can_only_die_and_dead_not_even_that() {
    for policy in POLICIES {
        for event in EVENTS {
            assert!(step(policy, State::Dead, event).is_err());
            let ends = matches!(event, Event::Fault | Event::Stop);
            assert_eq!(step(policy, State::Quarantined, event).is_ok(), ends);
        }
    }
}

/// The negative control: with renewal off, the twin does find the run in a used area.
#[test]
fn the_twin_objects_to_a_life_without_renewal() {
    let events = [
        Event::Ready,
        Event::Claim,
        Event::Determined,
        Event::Replied,
        Event::Claim,
        Event::Determined,
    ];
    let mut state = State::Starting;
    for event in events {
        state = step(Policy::Keep, state, event)
            .expect("kept environments take these")
            .0;
    }
    assert_eq!(state, State::Busy);
    assert!(!may_run(&events, Policy::AfterRun));
}

//! What the processor guesses ahead for a program, and what of that the kernel lets be kept from
//! the next one.
//!
//! ```text
//! platform ─ a thread asks, and looks ─► Found ─► Guard ─► each program, before its filter
//!                                          └─► a row for a person
//! ```
//!
//! Where indirect branches of a program are restricted, the kernel lays a barrier at each change of
//! a processor between that program and any other process, so that neither trains the predictor for
//! the other, nor does one that runs beside it on the same core. The first-level cache is emptied
//! at each such change where whoever runs the machine has asked for that (`l1d_flush=on`), and no
//! core has two threads: the kernel ends a program that asks for it on such a core.
//!
//! Deliberately absent: stores that are bypassed, which are about secrets within one address space,
//! and a program's holds its own only; a barrier between two runs of one program, of which the
//! kernel knows nothing.

use std::fs;
use std::io;
use std::thread;

use rustix::process::{
    SpeculationFeature, SpeculationFeatureControl as Control, SpeculationFeatureState as State,
    control_speculative_feature, speculative_feature_state,
};
use serde::{Deserialize, Serialize};

const BRANCHES: SpeculationFeature = SpeculationFeature::IndirectBranchSpeculation;
const FIRST_CACHE: SpeculationFeature = SpeculationFeature::FlushL1DCacheOnContextSwitchOutOfTask;
/// Says whether a core of this machine has two threads now.
const CORES_SHARED: &str = "/sys/devices/system/cpu/smt/active";
/// What the kernel says of its measures about branches.
const MEASURES: &str = "/sys/devices/system/cpu/vulnerabilities/spectre_v2";

/// What is laid on each program.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Guard {
    branches: bool,
    first_cache: bool,
}

/// What was found about this machine.
#[derive(Debug)]
pub(super) struct Found {
    branches: Branches,
    first_cache: bool,
}

#[derive(Debug, Eq, PartialEq)]
enum Branches {
    /// The kernel restricts a process that asks.
    OnRequest,
    /// It restricts all, without being asked.
    Always,
    /// It says that this processor needs nothing.
    NotNeeded,
    /// It restricts none, for this reason.
    Withheld(String),
    /// Nobody asked, as the platform was told not to.
    Unwanted,
}

impl Found {
    /// Tries it on a thread that ends then: what is laid on is a thread's, and some of it for good.
    pub(super) fn out(wanted: bool) -> Self {
        if !wanted {
            return Self {
                branches: Branches::Unwanted,
                first_cache: false,
            };
        }
        let tried = thread::Builder::new().spawn(|| Self {
            branches: branches(
                control_speculative_feature(BRANCHES, Control::DISABLE).map_err(Into::into),
                speculative_feature_state(BRANCHES).map_err(Into::into),
            ),
            first_cache: cores_are_whole() && empty_first_cache().is_ok(),
        });
        let tried = tried.map(thread::JoinHandle::join);
        tried.ok().and_then(Result::ok).unwrap_or_else(|| Self {
            branches: Branches::Withheld("it could not be tried".to_owned()),
            first_cache: false,
        })
    }

    pub(super) fn guard(&self) -> Guard {
        Guard {
            branches: self.branches == Branches::OnRequest,
            first_cache: self.first_cache,
        }
    }

    /// What is done because of it, for a person, and whether that is the best way.
    pub(super) fn way(&self) -> (String, bool) {
        let (way, full) = match &self.branches {
            Branches::OnRequest => (
                "kept apart: a barrier whenever a processor goes from a program to another process"
                    .to_owned(),
                true,
            ),
            Branches::Always => (
                "kept apart by the kernel, for all processes".to_owned(),
                true,
            ),
            Branches::NotNeeded => (
                "the kernel says that this processor keeps them apart by itself".to_owned(),
                true,
            ),
            Branches::Withheld(why) => (
                format!(
                    "not kept apart: programs share what processors have learned of branches, and \
                     may read of each other by it; the kernel lays no barrier ({why})"
                ),
                false,
            ),
            Branches::Unwanted => (
                "not kept apart: the platform was told to share them between programs".to_owned(),
                false,
            ),
        };
        let cache = if self.first_cache {
            "; the first-level cache is emptied too"
        } else {
            ""
        };
        (format!("{way}{cache}"), full)
    }
}

/// What the kernel's answers mean. It is not believed by what it answers to the request alone.
fn branches(asked: io::Result<()>, state: io::Result<Option<State>>) -> Branches {
    let state = match state {
        Ok(Some(state)) => state,
        Ok(None) => return Branches::Withheld("its answer is not understood".to_owned()),
        Err(error) => return Branches::Withheld(format!("it does not tell: {error}")),
    };
    match (asked, state) {
        (_, state) if state.is_empty() => Branches::NotNeeded,
        (Ok(()), state) if is_by_request(state) => Branches::OnRequest,
        (_, state) if state == State::DISABLE => Branches::Always,
        (Ok(()), _) => Branches::Withheld("it was asked, and nothing has changed".to_owned()),
        (Err(error), _) => {
            let measures = fs::read_to_string(MEASURES).unwrap_or_default();
            let measures = measures.trim();
            Branches::Withheld(format!("{error}; of its measures it says `{measures}`"))
        }
    }
}

fn is_by_request(state: State) -> bool {
    state.contains(State::PRCTL) && state.intersects(State::DISABLE.union(State::FORCE_DISABLE))
}

/// Whether it is known that no core runs two threads.
fn cores_are_whole() -> bool {
    fs::read_to_string(CORES_SHARED).is_ok_and(|active| active.trim() == "0")
}

fn empty_first_cache() -> io::Result<()> {
    // Here it is the emptying that is enabled.
    control_speculative_feature(FIRST_CACHE, Control::ENABLE)?;
    let state = speculative_feature_state(FIRST_CACHE)?;
    let is_on = state.is_some_and(|state| state.contains(State::PRCTL.union(State::ENABLE)));
    is_on.then_some(()).ok_or_else(unchanged)
}

fn unchanged() -> io::Error {
    io::Error::other("the kernel was asked, and nothing has changed")
}

/// Lays it on this thread and all that it becomes, for good.
pub(super) fn restrict(guard: Guard) -> io::Result<()> {
    if guard.branches {
        control_speculative_feature(BRANCHES, Control::FORCE_DISABLE)?;
        holds(guard)?;
    }
    if guard.first_cache {
        empty_first_cache()?;
    }
    Ok(())
}

/// Whether the kernel says that it lies on this thread.
pub(super) fn holds(guard: Guard) -> io::Result<()> {
    let state = speculative_feature_state(BRANCHES)?;
    let is_on = !guard.branches || state.is_some_and(is_by_request);
    is_on.then_some(()).ok_or_else(unchanged)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn refused() -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    #[test]
    fn answers_of_the_kernel_are_judged_by_what_they_changed() {
        let restricted = State::PRCTL | State::DISABLE;
        assert_eq!(branches(Ok(()), Ok(Some(restricted))), Branches::OnRequest);
        let for_good = State::PRCTL | State::FORCE_DISABLE;
        assert_eq!(branches(Ok(()), Ok(Some(for_good))), Branches::OnRequest);
        // It says that it did what was asked, and did not.
        for state in [State::ENABLE, State::PRCTL | State::ENABLE] {
            let judged = branches(Ok(()), Ok(Some(state)));
            assert!(matches!(judged, Branches::Withheld(_)), "{judged:?}");
            let judged = branches(refused(), Ok(Some(state)));
            let Branches::Withheld(why) = judged else {
                panic!("{judged:?}");
            };
            assert!(why.contains("Operation not permitted"), "{why}");
        }
        for asked in [Ok(()), refused()] {
            let always = branches(asked, Ok(Some(State::DISABLE)));
            assert_eq!(always, Branches::Always);
        }
        let needless = branches(refused(), Ok(Some(State::empty())));
        assert_eq!(needless, Branches::NotNeeded);
        assert!(matches!(branches(Ok(()), Ok(None)), Branches::Withheld(_)));
    }

    #[test]
    fn nothing_is_asked_of_a_kernel_where_that_is_not_wanted() {
        let found = Found::out(false);
        assert_eq!(found.guard(), Guard::default());
        let (way, full) = found.way();
        assert!(way.contains("was told to") && !full, "{way}");
    }

    /// What was found is what a thread that is guarded is then told; one that is not guarded is the
    /// control where the kernel restricts on request.
    #[test]
    fn a_thread_is_guarded_as_was_found_and_another_one_is_not() {
        let found = Found::out(true);
        let guard = found.guard();
        let guarded = thread::spawn(move || {
            restrict(guard).unwrap();
            holds(Guard {
                branches: true,
                ..guard
            })
        });
        let on_request = found.branches == Branches::OnRequest;
        assert_eq!(guarded.join().unwrap().is_ok(), on_request, "{found:?}");
        let always = Guard {
            branches: true,
            first_cache: false,
        };
        let another = thread::spawn(move || holds(always)).join().unwrap();
        assert!(another.is_err(), "{found:?}");
    }
}

//! The plan of a pool: one for environments that are anybody's, one for those that belong to keys.
//!
//! Deliberately absent: deciding, which both plans do (`usher_core::start`).

use usher_core::function::Settings;
use usher_core::id::EnvironmentId;
use usher_core::keep::Supply;
use usher_core::key::Key;
use usher_core::start::by_key::{ByKey, Failed};
use usher_core::start::pace::Figures;
use usher_core::start::{Acquired, Bounds, Counts, Idle, Moves, NotOut, Pool as Shared, Ticket};

/// Who gets which environment.
#[derive(Debug)]
pub(super) enum Plan {
    /// Whoever comes.
    Shared(Shared),
    /// Each key its own.
    ByKey(ByKey),
}

impl Plan {
    /// The plan that a revision's settings ask for; `bounds` are those of a shared one.
    pub(super) fn new(settings: &Settings, bounds: Bounds) -> Self {
        match settings.isolation.key() {
            None => Self::Shared(Shared::new(bounds)),
            Some(_) => Self::ByKey(ByKey::new(bounds)),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        match self {
            Self::Shared(plan) => plan.counts(),
            Self::ByKey(plan) => plan.counts(),
        }
    }

    /// Keys that have an environment.
    pub(super) fn keys(&self) -> usize {
        match self {
            Self::Shared(_) => 0,
            Self::ByKey(plan) => plan.keys(),
        }
    }

    /// Environments that anybody could have, the longest unused first.
    pub(super) fn idle(&self) -> Vec<Idle> {
        match self {
            Self::Shared(plan) => plan.idle().collect(),
            Self::ByKey(plan) => plan.clean().collect(),
        }
    }

    /// What `ready_min` counts: all environments, or those that are no key's yet.
    pub(super) fn supply(&self, environments_max: usize) -> Supply {
        let environments = match self {
            Self::Shared(plan) => plan.counts().environments(),
            Self::ByKey(plan) => plan.clean().len() + plan.counts().starting,
        };
        Supply {
            environments,
            environments_max,
        }
    }

    /// What requests take lately; none: environments belong to keys, and are not renewed.
    pub(super) fn figures(&mut self, now_us: u64) -> Option<Figures> {
        match self {
            Self::Shared(plan) => Some(plan.figures(now_us)),
            Self::ByKey(_) => None,
        }
    }

    /// The figures were judged.
    pub(super) fn judged(&mut self) {
        match self {
            Self::Shared(plan) => plan.judged(),
            Self::ByKey(_) => {}
        }
    }

    pub(super) fn acquire(&mut self, key: Option<&Key>, now_us: u64) -> Acquired {
        match self {
            Self::Shared(plan) => plan.acquire(now_us),
            Self::ByKey(plan) => plan.acquire(key),
        }
    }

    pub(super) fn start_ahead(&mut self) -> bool {
        match self {
            Self::Shared(plan) => plan.start_ahead(),
            Self::ByKey(plan) => plan.start_ahead(),
        }
    }

    pub(super) fn started(&mut self, environment: EnvironmentId, now_us: u64) -> Moves {
        match self {
            Self::Shared(plan) => plan.started(environment, now_us),
            Self::ByKey(plan) => plan.started(environment, now_us / 1_000),
        }
    }

    pub(super) fn start_failed(&mut self) -> Failed {
        match self {
            Self::Shared(plan) => Failed {
                tickets: plan.start_failed(),
                moves: Moves::default(),
            },
            Self::ByKey(plan) => plan.start_failed(),
        }
    }

    /// What belongs to a key is never renewed.
    pub(super) fn renewing(
        &mut self,
        environment: EnvironmentId,
        now_us: u64,
    ) -> Result<(), NotOut> {
        match self {
            Self::Shared(plan) => plan.renewing(environment, now_us),
            Self::ByKey(_) => Err(NotOut { environment }),
        }
    }

    pub(super) fn released(
        &mut self,
        environment: EnvironmentId,
        now_us: u64,
    ) -> Result<Moves, NotOut> {
        match self {
            Self::Shared(plan) => plan.released(environment, now_us),
            Self::ByKey(plan) => plan.released(environment, now_us / 1_000),
        }
    }

    pub(super) fn died(&mut self, environment: EnvironmentId) -> Moves {
        match self {
            Self::Shared(plan) => plan.died(environment),
            Self::ByKey(plan) => plan.died(environment),
        }
    }

    pub(super) fn expired(&mut self, ticket: Ticket) -> bool {
        match self {
            Self::Shared(plan) => plan.expired(ticket),
            Self::ByKey(plan) => plan.expired(ticket),
        }
    }

    /// Takes out those of [`Plan::idle`] that were unused longest.
    pub(super) fn retire(&mut self, count: usize) -> Vec<EnvironmentId> {
        match self {
            Self::Shared(plan) => plan.retire(count),
            Self::ByKey(plan) => plan.retire(count),
        }
    }

    /// Takes out those whose keys were not used for so long.
    pub(super) fn retire_unused(
        &mut self,
        key_idle_max_ms: u64,
        now_ms: u64,
    ) -> Vec<EnvironmentId> {
        match self {
            Self::Shared(_) => Vec::new(),
            Self::ByKey(plan) => plan.retire_unused(key_idle_max_ms, now_ms),
        }
    }

    /// Takes out all that nobody uses now.
    pub(super) fn retire_all(&mut self) -> Vec<EnvironmentId> {
        match self {
            Self::Shared(plan) => plan.retire(usize::MAX),
            Self::ByKey(plan) => plan.retire_all(),
        }
    }
}

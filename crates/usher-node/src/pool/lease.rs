//! Who holds an environment: a claim before the run, a lease from then on.

use std::sync::Arc;

use usher_core::environment::{Action, Event, IllegalMove, State as Life, step};
use usher_core::id::EnvironmentId;
use usher_core::key::{Key, determine};
use usher_core::proof::Start;
use usher_engine::{Ended, Engine};

use super::{Parked, Pool, Stored};

/// An environment that a request has and that nothing ran in yet. Goes back when it is dropped.
pub(crate) struct Claimed<E: Engine> {
    pool: Arc<Pool<E>>,
    place: EnvironmentId,
    stored: Option<Stored<E>>,
    /// Whose request it is for.
    key: Option<Key>,
    start: Start,
    trust: u64,
}

impl<E: Engine> Claimed<E> {
    pub(super) fn new(
        pool: Arc<Pool<E>>,
        place: EnvironmentId,
        stored: Stored<E>,
        key: Option<Key>,
        start: Start,
    ) -> Self {
        Self {
            trust: pool.trust(),
            pool,
            place,
            stored: Some(stored),
            key,
            start,
        }
    }

    /// Takes it: what was parked, what must be done with it, and how it was come by. From here on
    /// it is destroyed unless the lease is given back.
    pub(crate) fn take(mut self) -> Option<(Parked<E>, Lease<E>, Action, Start)> {
        let Stored { parked, kept_for } = self.stored.take()?;
        let mut lease = Lease {
            life: self.pool.life_of(&parked),
            pool: self.pool.clone(),
            place: self.place,
            key: self.key.take(),
            out: true,
        };
        // A move that is not legal drops the lease and with it the environment.
        let action = lease.go(Event::Claim).ok()?;
        if self.pool.revision.settings.isolation.key().is_some()
            && let Err(error) = determine(kept_for.as_ref(), lease.key.as_ref())
        {
            let cause = error.to_string();
            lease.end(Err(Ended::Quarantined { cause }));
            return None;
        }
        Some((parked, lease, action, self.start))
    }
}

impl<E: Engine> Drop for Claimed<E> {
    fn drop(&mut self) {
        if let Some(stored) = self.stored.take() {
            self.pool.offer(self.place, stored, self.trust);
        }
    }
}

/// The right to an environment that is in use or being renewed. Dropping it says that the
/// environment is gone.
pub(crate) struct Lease<E: Engine> {
    pool: Arc<Pool<E>>,
    place: EnvironmentId,
    life: Life,
    /// Whose state is in it from now on.
    key: Option<Key>,
    out: bool,
}

impl<E: Engine> Lease<E> {
    /// The pool that the environment belongs to.
    pub(crate) fn pool(&self) -> &Arc<Pool<E>> {
        &self.pool
    }

    /// Takes the next step of the environment's life. One that is not legal is a mistake of ours;
    /// the environment has to be destroyed then, by dropping this.
    pub(crate) fn go(&mut self, event: Event) -> Result<Action, IllegalMove> {
        let (life, action) = step(self.pool.policy, self.life, event).inspect_err(|error| {
            tracing::error!(%error, "an environment is destroyed");
        })?;
        self.life = life;
        if matches!(life, Life::Renewing(usher_core::environment::Then::Offer)) {
            let mut state = self.pool.state.lock();
            if let Err(error) = state.plan.renewing(self.place) {
                tracing::error!(%error, "an environment is renewed that is not out");
            }
        }
        Ok(action)
    }

    /// Gives the environment back. `trust` is what the pool said before the last renewal.
    pub(crate) fn offer(mut self, parked: Parked<E>, trust: u64) {
        self.out = false;
        let kept_for = self.key.take();
        self.pool
            .offer(self.place, Stored { parked, kept_for }, trust);
    }
}

impl<E: Engine> Drop for Lease<E> {
    fn drop(&mut self) {
        if self.out {
            self.pool.died(self.place);
        }
    }
}

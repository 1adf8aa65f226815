//! Who holds an environment: a claim before the run, a lease from then on.

use std::sync::Arc;

use usher_core::environment::{Action, Event, IllegalMove, State as Life, step};
use usher_core::id::EnvironmentId;
use usher_core::key::{Key, determine};
use usher_core::proof::Start;
use usher_engine::{Ended, Engine};

use super::{Parked, Pool, Stored};
use crate::memory::Held;

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
        let Stored {
            parked,
            kept_for,
            held,
        } = self.stored.take()?;
        let mut lease = Lease {
            life: self.pool.life_of(&parked),
            pool: self.pool.clone(),
            place: self.place,
            key: self.key.take(),
            held: Some(held),
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
    /// None: it was given back with the environment.
    held: Option<Held>,
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
            let now_us = self.pool.now_us();
            let mut state = self.pool.state.lock();
            if let Err(error) = state.plan.renewing(self.place, now_us) {
                tracing::error!(%error, "an environment is renewed that is not out");
            }
        }
        Ok(action)
    }

    /// Gives the environment back. `trust` is what the pool said before the last renewal.
    pub(crate) fn offer(mut self, parked: Parked<E>, trust: u64) {
        let Some(held) = self.held.take() else {
            return;
        };
        self.out = false;
        let stored = Stored {
            parked,
            kept_for: self.key.take(),
            held,
        };
        self.pool.offer(self.place, stored, trust);
    }
}

impl<E: Engine> Drop for Lease<E> {
    fn drop(&mut self) {
        if self.out {
            self.pool.died(self.place);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::num::NonZeroUsize;

    use tokio::sync::mpsc;
    use usher_core::function::{Isolation, Settings};
    use usher_engine::contract;
    use usher_engine::fake::FakeEngine;

    use super::*;
    use crate::audits::Audits;
    use crate::logs::{LogOptions, Logs};
    use crate::memory::Ledger;
    use crate::pool::{Asked, Parts};

    fn key(text: &str) -> Key {
        Key::one_of([text.as_bytes()]).unwrap()
    }

    async fn claimed(pool: &Arc<Pool<FakeEngine>>, key: &Key) -> Claimed<FakeEngine> {
        match pool.ask(Some(key)) {
            Ok(Asked::Got(claimed)) => claimed,
            Ok(Asked::Waits(line)) => line.served(std::time::Duration::MAX).await.unwrap(),
            Err(error) => panic!("{error}"),
        }
    }

    /// One run of a key, after which its environment is kept.
    async fn run(pool: &Arc<Pool<FakeEngine>>, key: &Key) {
        let (parked, lease, ..) = claimed(pool, key).await.take().unwrap();
        lease.offer(parked, pool.trust());
    }

    /// The plan names an environment that another key has used: what travels with it refuses.
    #[tokio::test]
    async fn an_environment_that_another_key_has_used_is_refused_whatever_the_plan_says() {
        let artifact = FakeEngine::artifact("hello");
        let settings = Settings {
            isolation: Isolation::Key("header:x-tenant".parse().unwrap()),
            ..Settings::default()
        };
        let revision = contract::revision(contract::function("hello"), &artifact, settings);
        let (engine, revision) = (Arc::new(FakeEngine::new()), Arc::new(revision));
        let (progress, _) = mpsc::channel(1);
        let image = engine.load(revision.clone(), artifact, progress).await;
        let logs = Logs::open(LogOptions::default()).unwrap();
        let pool = Pool::new(Parts {
            engine,
            image: image.unwrap(),
            log: logs.function(&revision.function),
            revision,
            counters: Arc::default(),
            audits: Audits::new(0),
            distrusts: Arc::default(),
            memory: Ledger::new(Arc::new(usher_backbone::Watched::new("owners."))),
            starts_parallel_max: NonZeroUsize::MIN,
        });
        let (ann, bob) = (key("ann"), key("bob"));
        run(&pool, &ann).await;
        // The control: nothing is refused while the two books agree.
        run(&pool, &ann).await;
        assert_eq!(pool.counters.quarantined.get(), 0);
        for stored in pool.state.lock().parked.values_mut() {
            stored.kept_for = Some(bob.clone());
        }
        assert!(claimed(&pool, &ann).await.take().is_none());
        assert_eq!(pool.counters.quarantined.get(), 1);
        assert_eq!(pool.counts().environments(), 0, "it is destroyed");
        run(&pool, &ann).await;
    }
}

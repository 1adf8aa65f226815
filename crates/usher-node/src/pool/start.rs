//! Starting environments: in tasks of their own, so that a request that goes away does not take a
//! start with it that others wait for.

use std::sync::Arc;
use std::time::Duration;

use usher_core::admit::RETRY_AFTER_MAX_S;
use usher_core::fault::Fault;
use usher_engine::{Engine, Renewed, StartError};

use super::{NoEnvironment, Parked, Pool, Stored};
use crate::memory::Held;

impl<E: Engine> Pool<E> {
    /// Carries out one start that the plan has counted already.
    pub(super) fn begin_start(self: &Arc<Self>) {
        let starting = Starting {
            pool: Some(self.clone()),
        };
        self.runtime.spawn(async move {
            let Some(pool) = &starting.pool else { return };
            let held = match pool.room_for_one().await {
                Ok(held) => held,
                Err(error) => return starting.end(Err(error)),
            };
            let started = pool.engine.start(&pool.image).await;
            starting.end(started.map(|environment| (environment, held)));
        });
    }

    /// Room in the owner's memory. Waits for half the time that requests may, so that they are told
    /// why there is none; where none waits, nothing is waited for.
    async fn room_for_one(&self) -> Result<Held, StartError> {
        let limits = &self.revision.settings.limits;
        let wanted = !self.state.lock().waiting.is_empty();
        let wait_ms = if wanted {
            limits.queue_wait_max_ms / 2
        } else {
            0
        };
        let owner = &self.revision.function.owner;
        let mib = u64::from(limits.memory_max_mib);
        let taken = self.memory.take(owner, mib, Duration::from_millis(wait_ms));
        taken.await.map_err(|no_room| {
            let wait_s = u32::try_from(limits.queue_wait_max_ms.div_ceil(1_000));
            no_room.into_error(wait_s.unwrap_or(u32::MAX).clamp(1, RETRY_AFTER_MAX_S))
        })
    }

    /// Starts one environment before anybody needs it, if there is room for it.
    pub(crate) fn start_ahead(self: &Arc<Self>) -> bool {
        let begin = {
            let mut state = self.state.lock();
            !state.closed && state.plan.start_ahead()
        };
        if begin {
            self.begin_start();
        }
        begin
    }

    /// Renews a used environment that was taken out of the plan, and for which a start was counted:
    /// it comes back as if it had been started.
    pub(super) fn refresh(self: &Arc<Self>, parked: Parked<E>, held: Held) {
        let mut starting = Starting {
            pool: Some(self.clone()),
        };
        self.runtime.spawn(async move {
            let renewed = match parked {
                Parked::Used(used) => {
                    let Some(pool) = &starting.pool else { return };
                    let trust = pool.trust();
                    let renewed = pool.renew(used).await;
                    renewed.filter(|_| trust == pool.trust())
                }
                Parked::Clean(clean) => Some(Renewed {
                    clean,
                    behind: None,
                }),
            };
            let Some(renewed) = renewed else { return };
            if let Some(pool) = starting.pool.take() {
                pool.started(Parked::Clean(renewed.clean), held);
            }
            if let Some(behind) = renewed.behind {
                behind.scrub();
            }
        });
    }

    fn started(self: &Arc<Self>, parked: Parked<E>, held: Held) {
        let now_us = self.now_us();
        let mut state = self.state.lock();
        let place = state.new_place();
        let moves = state.plan.started(place, now_us);
        let stored = Stored {
            parked,
            kept_for: None,
            held,
        };
        self.settle(state, place, Some(stored), moves);
    }

    fn start_failed(self: &Arc<Self>, error: StartError) {
        let now_us = self.now_us();
        let (told, ended, starts, closed) = {
            let mut state = self.state.lock();
            state.start_failed_us = Some(now_us);
            let failed = state.plan.start_failed();
            let waiters = failed.tickets.iter();
            let told = waiters
                .filter_map(|ticket| state.waiting.remove(ticket))
                .map(|waiter| waiter.tell)
                .collect::<Vec<_>>();
            let ended = state.take_out(&failed.moves.ended);
            (told, ended, failed.moves.starts, state.closed)
        };
        self.counters.keys_given_up.add(ended.len() as u64);
        drop(ended);
        for _ in 0..starts {
            self.begin_start();
        }
        for tell in told {
            // Who waited may have gone away meanwhile, and then needs no answer.
            let _ = tell.send(Err(NoEnvironment::NotStarted(error.clone())));
        }
        if closed {
            self.quiet.notify_waiters();
        }
    }
}

/// A start in progress. One that is lost, because the engine's code panicked or the runtime ends,
/// counts as failed.
struct Starting<E: Engine> {
    pool: Option<Arc<Pool<E>>>,
}

impl<E: Engine> Starting<E> {
    fn end(mut self, started: Result<(E::Environment, Held), StartError>) {
        let Some(pool) = self.pool.take() else { return };
        match started {
            Ok((environment, held)) => {
                pool.counters.started.add(1);
                pool.started(Parked::Clean(environment), held);
            }
            Err(error) => {
                pool.counters.starts_failed.add(1);
                tracing::warn!(function = %pool.revision.function, %error, "a start failed");
                pool.start_failed(error);
            }
        }
    }
}

impl<E: Engine> Drop for Starting<E> {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.counters.starts_failed.add(1);
            pool.start_failed(StartError {
                fault: Fault::Unavailable,
                cause: "the start was lost".to_owned(),
            });
        }
    }
}

//! The environments of one revision on this node: claimed, given back, started, ended.
//!
//! ```text
//!               ask              take              Lease::end          clean
//!   parked ────────────► Claimed ──► Lease ────────────► renewing ─────────┐
//!     ▲  ▲                  │ dropped  │ dropped: destroyed                │
//!     │  └──────────────────┘          ▼                                   │
//!     └────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Who gets an environment, who waits and when one more starts is decided by `usher_core::start`;
//! the rest of this module carries that out under one lock, held for a few moves and never across
//! an engine's code. A request that finds a parked environment takes the lock once, and its run
//! gives the environment back by taking it once more for each of its two moves (run over, clean
//! again).
//!
//! A [`Claimed`] that is dropped before it ran goes back; a [`Lease`] that is dropped destroys, so
//! that a request which goes away at any point leaks nothing.
//!
//! Where state is kept by key there are two books about whose it is: the plan's, and the key that
//! travels with the environment itself from its first run on ([`Stored`]). A claim for which they
//! differ is refused, and the environment destroyed.
//!
//! Deliberately absent: what a run is (`invoke`), when renewal happens (`renewal`).

mod close;
mod keep;
mod lease;
mod line;
mod plan;
mod start;
mod twin;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use usher_core::claim::Code;
use usher_core::environment::{Policy, State as Life};
use usher_core::function::Revision;
use usher_core::id::EnvironmentId;
use usher_core::keep::twin::Why;
use usher_core::key::Key;
use usher_core::proof::Start;
use usher_core::start::{Acquired, Bounds, Counts, Moves, Ticket};
use usher_engine::{Engine, Environment};

pub(crate) use lease::{Claimed, Lease};
pub(crate) use line::{Asked, Line, NoEnvironment};

use plan::Plan;

use crate::audits::{Audits, Distrusts};
use crate::logs::FunctionLog;
use crate::memory::{Held, Ledger, Spare};
use crate::metrics::Counters;

/// The environment of an engine after a run.
pub(crate) type UsedOf<E> = <<E as Engine>::Environment as Environment>::Used;

/// An environment that nobody uses.
pub(crate) enum Parked<E: Engine> {
    /// Ready to run, or kept on purpose.
    Clean(E::Environment),
    /// To be renewed by whoever claims it.
    Used(UsedOf<E>),
}

/// A parked environment, and whose state it keeps.
pub(crate) struct Stored<E: Engine> {
    parked: Parked<E>,
    /// None: nobody's by key, or nothing has run in it yet.
    kept_for: Option<Key>,
    /// What it may use of its owner's memory.
    held: Held,
}

/// The environments of one revision.
pub(crate) struct Pool<E: Engine> {
    pub(crate) engine: Arc<E>,
    pub(crate) image: Arc<E::Image>,
    pub(crate) revision: Arc<Revision>,
    pub(crate) policy: Policy,
    pub(crate) counters: Arc<Counters>,
    pub(crate) audits: Audits,
    pub(crate) log: Arc<FunctionLog>,
    distrusts: Arc<Distrusts>,
    memory: Arc<Ledger>,
    /// Leases are dropped anywhere, also where no runtime is at hand.
    pub(crate) runtime: Handle,
    begun: Instant,
    environments_max: NonZeroUsize,
    /// Rises when an audit fails: what was renewed before that is not offered any more.
    trust: AtomicU64,
    state: Mutex<State<E>>,
    quiet: Notify,
}

struct State<E: Engine> {
    plan: Plan,
    parked: BTreeMap<EnvironmentId, Stored<E>>,
    /// Whom to tell, by ticket.
    waiting: HashMap<Ticket, Waiter<E>>,
    /// The plan knows environments by the number of their *place*, because an environment that is
    /// renewed by a fresh instance changes its id and keeps its place.
    next_place: u64,
    /// When an environment was last given back or lost.
    touched_ms: u64,
    /// When a start failed last.
    start_failed_us: Option<u64>,
    /// Why there are as many twins as there are.
    twin_why: Option<Why>,
    closed: bool,
}

/// A request that waits.
struct Waiter<E: Engine> {
    key: Option<Key>,
    tell: oneshot::Sender<Result<Claimed<E>, NoEnvironment>>,
}

/// What a pool is made of.
pub(crate) struct Parts<E: Engine> {
    pub(crate) engine: Arc<E>,
    pub(crate) image: Arc<E::Image>,
    pub(crate) revision: Arc<Revision>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) audits: Audits,
    pub(crate) log: Arc<FunctionLog>,
    pub(crate) distrusts: Arc<Distrusts>,
    pub(crate) memory: Arc<Ledger>,
    pub(crate) starts_parallel_max: NonZeroUsize,
}

impl<E: Engine> Pool<E> {
    /// A pool without an environment. To be called within the runtime that its starts and renewals
    /// are to run on.
    pub(crate) fn new(parts: Parts<E>) -> Arc<Self> {
        let Parts {
            engine,
            image,
            revision,
            counters,
            audits,
            log,
            distrusts,
            memory,
            starts_parallel_max,
        } = parts;
        let limits = &revision.settings.limits;
        let concurrency_max = NonZeroUsize::new(limits.concurrency_max as usize);
        let concurrency_max = concurrency_max.unwrap_or(NonZeroUsize::MIN);
        let keys_max = NonZeroUsize::new(revision.settings.keep.keys_max as usize);
        let by_key = revision.settings.isolation.key().is_some();
        let bounds = Bounds {
            environments_max: match by_key {
                true => keys_max.unwrap_or(NonZeroUsize::MIN),
                false => concurrency_max,
            },
            starts_parallel_max,
            // Those that may run at once may all have to wait for their environments to start.
            waiting_max: concurrency_max.get() + limits.queue_max as usize,
        };
        let plan = Plan::new(&revision.settings, bounds);
        let owner = revision.function.owner.clone();
        let pool = Arc::new(Self {
            policy: Policy::of(&revision.settings.isolation, revision.settings.renew),
            engine,
            image,
            revision,
            counters,
            audits,
            log,
            distrusts,
            memory,
            runtime: Handle::current(),
            begun: Instant::now(),
            environments_max: bounds.environments_max,
            trust: AtomicU64::new(0),
            state: Mutex::new(State {
                plan,
                parked: BTreeMap::new(),
                waiting: HashMap::new(),
                next_place: 0,
                touched_ms: 0,
                start_failed_us: None,
                twin_why: None,
                closed: false,
            }),
            quiet: Notify::new(),
        });
        let spare: Weak<dyn Spare> = Arc::downgrade(&pool) as _;
        pool.memory.register(&owner, spare);
        pool
    }

    /// How many of each kind there are.
    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().plan.counts()
    }

    /// Keys that have an environment.
    pub(crate) fn keys(&self) -> usize {
        self.state.lock().plan.keys()
    }

    /// An environment for a request: one that is parked, or a place in the line for the first that
    /// comes free or is started. `key`: whose state it needs, where that is kept by key; whoever
    /// names none there may look, and not run.
    pub(crate) fn ask(self: &Arc<Self>, key: Option<&Key>) -> Result<Asked<E>, NoEnvironment> {
        let now_us = self.now_us();
        let (line, moves, ended) = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(NoEnvironment::Closed);
            }
            let renewing = state.plan.counts().renewing > 0;
            match state.plan.acquire(key, now_us) {
                Acquired::Refused => return Err(NoEnvironment::Busy),
                Acquired::Taken(place) => {
                    let parked = state.parked.remove(&place);
                    drop(state);
                    self.counters.renewal_waits_spared.add(u64::from(renewing));
                    let claimed = self.claimed(place, parked, key.cloned(), Start::Warm);
                    return claimed.map(Asked::Got);
                }
                Acquired::Waits { ticket, moves } => {
                    let (tell, served) = oneshot::channel();
                    let key = key.cloned();
                    state.waiting.insert(ticket, Waiter { key, tell });
                    let ended = state.take_out(&moves.ended);
                    (Line::new(self.clone(), ticket, served), moves, ended)
                }
            }
        };
        self.counters.keys_given_up.add(ended.len() as u64);
        drop(ended);
        for _ in 0..moves.starts {
            self.begin_start();
        }
        Ok(Asked::Waits(line))
    }

    fn claimed(
        self: &Arc<Self>,
        place: EnvironmentId,
        stored: Option<Stored<E>>,
        key: Option<Key>,
        start: Start,
    ) -> Result<Claimed<E>, NoEnvironment> {
        let Some(stored) = stored else {
            tracing::error!(
                place = place.0,
                "a place without an environment was handed out"
            );
            self.died(place);
            return Err(NoEnvironment::Closed);
        };
        Ok(Claimed::new(self.clone(), place, stored, key, start))
    }

    /// An environment may be claimed again. `trust` is what [`Pool::trust`] said before its
    /// renewal.
    fn offer(self: &Arc<Self>, place: EnvironmentId, stored: Stored<E>, trust: u64) {
        let mut state = self.state.lock();
        if trust != self.trust() {
            drop(state);
            drop(stored);
            self.died(place);
            return;
        }
        let now_us = self.now_us();
        state.touched_ms = now_us / 1_000;
        match state.plan.released(place, now_us) {
            Ok(moves) => self.settle(state, place, Some(stored), moves),
            Err(error) => tracing::error!(%error, "an environment came back twice"),
        }
    }

    /// An environment is gone.
    fn died(self: &Arc<Self>, place: EnvironmentId) {
        let now_ms = self.now_ms();
        let mut state = self.state.lock();
        state.touched_ms = now_ms;
        let moves = state.plan.died(place);
        self.settle(state, place, None, moves);
    }

    /// Carries out what the plan answered about a place and what is in it.
    fn settle(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State<E>>,
        place: EnvironmentId,
        mut stored: Option<Stored<E>>,
        moves: Moves,
    ) {
        let told = moves.serve.map(|served| {
            self.counters.renewal_waited(served.renewal_wait_us);
            let waiter = state.waiting.remove(&served.ticket);
            let found = match served.environment == place {
                true => stored.take(),
                false => state.parked.remove(&served.environment),
            };
            (waiter, served, found)
        });
        if let Some(stored) = stored {
            state.parked.insert(place, stored);
        }
        let given_up = state.take_out(&moves.ended);
        let closed = state.closed;
        let ended = match closed {
            true => state.end_idle(),
            false => Vec::new(),
        };
        drop(state);
        self.counters.keys_given_up.add(given_up.len() as u64);
        drop((given_up, ended));
        for _ in 0..moves.starts {
            self.begin_start();
        }
        if let Some((waiter, served, found)) = told {
            let (key, tell) = waiter.map(|it| (it.key, it.tell)).unzip();
            let claimed = self.claimed(served.environment, found, key.flatten(), served.start);
            // Who waited may have gone away this very moment; the environment then comes back as
            // its claim is dropped, and goes to the next.
            if let Some(tell) = tell {
                let _ = tell.send(claimed);
            }
        }
        if closed {
            self.quiet.notify_waiters();
        }
    }

    /// See [`Pool::distrust`].
    pub(crate) fn trust(&self) -> u64 {
        self.trust.load(Ordering::SeqCst)
    }

    /// An audit failed: nothing that was renewed so far is offered any more, and the engine renews
    /// in place no more.
    pub(crate) fn distrust(&self) {
        self.distrusts.add(&self.revision);
        self.engine.distrust(&self.image);
        let ended = {
            let mut state = self.state.lock();
            self.trust.fetch_add(1, Ordering::SeqCst);
            state.end_idle()
        };
        drop(ended);
    }

    fn now_ms(&self) -> u64 {
        self.now_us() / 1_000
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Where a parked environment is in its life.
    fn life_of(&self, parked: &Parked<E>) -> Life {
        match (parked, self.policy) {
            (Parked::Used(_), _) => Life::Used,
            (Parked::Clean(_), Policy::Keep) => Life::Kept,
            (Parked::Clean(_), Policy::AfterRun | Policy::BeforeRun) => Life::Clean,
        }
    }
}

impl<E: Engine> State<E> {
    /// Takes out all that nobody uses. To be dropped when the lock is no longer held.
    fn end_idle(&mut self) -> Vec<Stored<E>> {
        let places = self.plan.retire_all();
        self.take_out(&places)
    }

    /// Takes out what the plan has given up. To be dropped when the lock is no longer held.
    fn take_out(&mut self, places: &[EnvironmentId]) -> Vec<Stored<E>> {
        let parked = places.iter().filter_map(|place| self.parked.remove(place));
        parked.collect()
    }

    fn new_place(&mut self) -> EnvironmentId {
        self.next_place += 1;
        EnvironmentId(self.next_place)
    }
}

/// What environments of a revision run.
pub(crate) fn code_of<E: Engine>(revision: &Revision, engine: &E) -> Code {
    Code {
        owner: revision.function.owner.clone(),
        artifact: revision.artifact,
        revision: revision.id,
        abi: engine.abi(revision).clone(),
    }
}

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
//! Deliberately absent: what a run is (`invoke`), when renewal happens (`renewal`).

mod close;
mod keep;
mod lease;
mod line;
mod start;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use usher_core::claim::Code;
use usher_core::environment::{Policy, State as Life};
use usher_core::function::Revision;
use usher_core::id::EnvironmentId;
use usher_core::proof::Start;
use usher_core::start::{Acquired, Bounds, Counts, Moves, Pool as Plan, Ticket};
use usher_engine::{Engine, Environment};

pub(crate) use lease::{Claimed, Lease};
pub(crate) use line::{Asked, Line, NoEnvironment};

use crate::audits::{Audits, Distrusts};
use crate::logs::FunctionLog;
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
    /// Leases are dropped anywhere, also where no runtime is at hand.
    pub(crate) runtime: Handle,
    begun: Instant,
    /// Rises when an audit fails: what was renewed before that is not offered any more.
    trust: AtomicU64,
    state: Mutex<State<E>>,
    quiet: Notify,
}

struct State<E: Engine> {
    plan: Plan,
    parked: BTreeMap<EnvironmentId, Parked<E>>,
    /// Whom to tell, by ticket.
    waiting: HashMap<Ticket, oneshot::Sender<Result<Claimed<E>, NoEnvironment>>>,
    /// The plan knows environments by the number of their *place*, because an environment that is
    /// renewed by a fresh instance changes its id and keeps its place.
    next_place: u64,
    /// When an environment was last given back or lost.
    touched_ms: u64,
    closed: bool,
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
            starts_parallel_max,
        } = parts;
        let limits = &revision.settings.limits;
        let concurrency_max = NonZeroUsize::new(limits.concurrency_max as usize);
        let concurrency_max = concurrency_max.unwrap_or(NonZeroUsize::MIN);
        let plan = Plan::new(Bounds {
            environments_max: concurrency_max,
            starts_parallel_max,
            // Those that may run at once may all have to wait for their environments to start.
            waiting_max: concurrency_max.get() + limits.queue_max as usize,
        });
        Arc::new(Self {
            policy: Policy::of(revision.settings.isolation, revision.settings.renew),
            engine,
            image,
            revision,
            counters,
            audits,
            log,
            distrusts,
            runtime: Handle::current(),
            begun: Instant::now(),
            trust: AtomicU64::new(0),
            state: Mutex::new(State {
                plan,
                parked: BTreeMap::new(),
                waiting: HashMap::new(),
                next_place: 0,
                touched_ms: 0,
                closed: false,
            }),
            quiet: Notify::new(),
        })
    }

    /// How many of each kind there are.
    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().plan.counts()
    }

    /// An environment for a request: one that is parked, or a place in the line for the first that
    /// comes free or is started.
    pub(crate) fn ask(self: &Arc<Self>) -> Result<Asked<E>, NoEnvironment> {
        let (line, start) = {
            let mut state = self.state.lock();
            if state.closed {
                return Err(NoEnvironment::Closed);
            }
            match state.plan.acquire() {
                Acquired::Refused => return Err(NoEnvironment::Busy),
                Acquired::Taken(place) => {
                    let parked = state.parked.remove(&place);
                    drop(state);
                    return self.claimed(place, parked, Start::Warm).map(Asked::Got);
                }
                Acquired::Waits { ticket, start } => {
                    let (tell, served) = oneshot::channel();
                    state.waiting.insert(ticket, tell);
                    (Line::new(self.clone(), ticket, served), start)
                }
            }
        };
        if start {
            self.begin_start();
        }
        Ok(Asked::Waits(line))
    }

    fn claimed(
        self: &Arc<Self>,
        place: EnvironmentId,
        parked: Option<Parked<E>>,
        start: Start,
    ) -> Result<Claimed<E>, NoEnvironment> {
        let Some(parked) = parked else {
            tracing::error!(
                place = place.0,
                "a place without an environment was handed out"
            );
            self.died(place);
            return Err(NoEnvironment::Closed);
        };
        Ok(Claimed::new(self.clone(), place, parked, start))
    }

    /// An environment may be claimed again. `trust` is what [`Pool::trust`] said before its
    /// renewal.
    fn offer(self: &Arc<Self>, place: EnvironmentId, parked: Parked<E>, trust: u64) {
        let mut state = self.state.lock();
        if trust != self.trust() {
            drop(state);
            drop(parked);
            self.died(place);
            return;
        }
        let now_ms = self.now_ms();
        state.touched_ms = now_ms;
        match state.plan.released(place, now_ms) {
            Ok(moves) => self.settle(state, place, Some(parked), moves),
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
        parked: Option<Parked<E>>,
        moves: Moves,
    ) {
        let mut ended = Vec::new();
        let mut told = None;
        match (moves.serve, parked) {
            (Some(served), parked) => {
                let tell = state.waiting.remove(&served.ticket);
                told = Some((tell, served, parked));
            }
            (None, Some(parked)) => {
                state.parked.insert(place, parked);
                if state.closed {
                    ended = state.end_idle(usize::MAX);
                }
            }
            (None, None) => {}
        }
        let closed = state.closed;
        drop(state);
        drop(ended);
        for _ in 0..moves.starts {
            self.begin_start();
        }
        if let Some((tell, served, parked)) = told {
            let claimed = self.claimed(served.environment, parked, served.start);
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
            state.end_idle(usize::MAX)
        };
        drop(ended);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
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
    /// Takes out the longest unused. To be dropped when the lock is no longer held.
    fn end_idle(&mut self, count: usize) -> Vec<Parked<E>> {
        let places = self.plan.retire(count);
        places
            .into_iter()
            .filter_map(|place| self.parked.remove(&place))
            .collect()
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

//! The door: carries out what `usher_core::admit` decides, with tasks that wait.
//!
//! ```text
//!   enter ─┬ runs ──────────────────────► Permit ─drop─► finished, wake who is next
//!          ├ waits ─► Place ─┬ named ───► Permit
//!          │                 ├ too long ► Busy
//!          │                 └ dropped ─► its place is given back
//!          └ refused ► Busy
//! ```
//!
//! Invariant: whoever was admitted calls `finished` exactly once, by dropping a [`Permit`] or,
//! where it left at the moment it was named, its [`Place`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use usher_core::admit::{
    Admission, Arrival, Bound, Load, Overall, PerFunction, PerOwner, RETRY_AFTER_MAX_S, Ticket,
};
use usher_core::fault::Fault;
use usher_core::key::Key;
use usher_core::owner::Quota;

/// After how many arrivals the lines of functions that nobody calls any more are forgotten.
const SWEEP_EVERY_ARRIVALS: u32 = 1 << 16;

/// A function, by a number of its own, so that the door compares numbers and not names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot(pub(crate) u64);

/// One for all functions of a gateway.
pub(crate) struct Door {
    opened: Instant,
    state: Mutex<State>,
}

struct State {
    admission: Admission<Slot>,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    arrivals: u32,
}

/// The right to run; given back by drop.
pub(crate) struct Permit {
    door: Arc<Door>,
    who: Who,
}

/// Whose line a request stands in.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) slot: Slot,
    /// Whose function it is, and how many of that owner's may run now.
    pub(crate) owner: PerOwner,
    /// Where the function keeps state by key: the requests of one run one after the other.
    pub(crate) key: Option<Key>,
}

/// A place in the waiting room; given back by drop.
struct Place {
    door: Arc<Door>,
    who: Who,
    ticket: Ticket,
    turn: oneshot::Receiver<()>,
    kept: bool,
}

enum Entry {
    Run(Permit),
    Wait(Place),
}

impl Door {
    pub(crate) fn new(overall: Overall) -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            state: Mutex::new(State {
                admission: Admission::new(overall),
                waiting: HashMap::new(),
                arrivals: 0,
            }),
        })
    }

    /// Waits until the request may run. `bytes` is what it holds in memory meanwhile.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        who: Who,
        bounds: PerFunction,
        bytes: u64,
        now: Instant,
    ) -> Result<Permit, Fault> {
        match self.arrive(who, bounds, bytes, now)? {
            Entry::Run(permit) => Ok(permit),
            Entry::Wait(place) => place.wait(bounds).await,
        }
    }

    pub(crate) fn load(&self) -> Load {
        self.state.lock().admission.load()
    }

    pub(crate) fn load_of(&self, slot: Slot) -> Load {
        self.state.lock().admission.load_of(&slot)
    }

    fn arrive(
        self: &Arc<Self>,
        who: Who,
        bounds: PerFunction,
        bytes: u64,
        now: Instant,
    ) -> Result<Entry, Fault> {
        let now_ms = now.saturating_duration_since(self.opened).as_millis();
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let mut state = self.state.lock();
        state.arrivals = state.arrivals.wrapping_add(1);
        if state.arrivals.is_multiple_of(SWEEP_EVERY_ARRIVALS) {
            state.admission.sweep();
        }
        let key = who.key.as_ref();
        match state
            .admission
            .arrive(&who.slot, who.owner, key, bounds, bytes, now_ms)
        {
            Arrival::Run => {
                drop(state);
                let door = Arc::clone(self);
                Ok(Entry::Run(Permit { door, who }))
            }
            Arrival::Wait(ticket) => {
                let (sender, turn) = oneshot::channel();
                state.waiting.insert(ticket, sender);
                drop(state);
                let place = Place {
                    door: Arc::clone(self),
                    who,
                    ticket,
                    turn,
                    kept: true,
                };
                // Admission may name a request in the same breath in which it lets it wait.
                self.wake();
                Ok(Entry::Wait(place))
            }
            Arrival::Refuse {
                bound,
                retry_after_s,
            } => {
                drop(state);
                // The bounds that it brought may let one run who waits.
                self.wake();
                Err(busy(bound, retry_after_s))
            }
        }
    }

    fn finished(&self, who: &Who) {
        let next = {
            let mut state = self.state.lock();
            state.admission.finished(&who.slot, who.key.as_ref());
            state.next_turn()
        };
        if let Some(turn) = next {
            // Whoever has just left gives its place back itself, see `Place::drop`.
            let _ = turn.send(());
            self.wake();
        }
    }

    /// Wakes everybody who may run now, outside the lock.
    fn wake(&self) {
        loop {
            let next = self.state.lock().next_turn();
            let Some(turn) = next else { return };
            let _ = turn.send(());
        }
    }
}

/// What a caller is told, by whose bound it is.
const fn busy(bound: Bound, retry_after_s: u32) -> Fault {
    match bound {
        Bound::Owner => Fault::OwnerBusy {
            quota: Quota::Concurrency,
            retry_after_s,
        },
        Bound::Function | Bound::Overall => Fault::Busy { retry_after_s },
    }
}

impl State {
    fn next_turn(&mut self) -> Option<oneshot::Sender<()>> {
        let waited = self.admission.admit_next()?;
        self.waiting.remove(&waited.ticket)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.door.finished(&self.who);
    }
}

impl Place {
    async fn wait(mut self, bounds: PerFunction) -> Result<Permit, Fault> {
        let wait_max = Duration::from_millis(bounds.queue_wait_max_ms);
        let named = tokio::time::timeout(wait_max, &mut self.turn).await;
        if matches!(named, Ok(Ok(()))) || !self.leave() {
            self.kept = false;
            return Ok(Permit {
                door: Arc::clone(&self.door),
                who: self.who.clone(),
            });
        }
        self.kept = false;
        let bound = self.door.state.lock().admission.held_by(&self.who.slot);
        // The next one of its key may have been waiting behind it.
        self.door.wake();
        let wait_s = u32::try_from(bounds.queue_wait_max_ms.div_ceil(1_000));
        let retry_after_s = wait_s.unwrap_or(u32::MAX).clamp(1, RETRY_AFTER_MAX_S);
        Err(busy(bound, retry_after_s))
    }

    /// Gives the place up. False: it was named just now, so it runs.
    fn leave(&self) -> bool {
        let mut state = self.door.state.lock();
        state.waiting.remove(&self.ticket);
        state
            .admission
            .gone(&self.who.slot, self.who.key.as_ref(), self.ticket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            return;
        }
        if !self.leave() {
            self.door.finished(&self.who);
        }
        self.door.wake();
    }
}

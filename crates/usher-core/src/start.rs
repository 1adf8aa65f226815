//! The environments of one revision on one node: who gets one, who waits, and when one more starts.
//!
//! ```text
//! start ─started→ idle ─acquire→ out ─renewing→ out ─released→ idle, or straight to who waits
//! ```
//!
//! Requests that find nothing free join what is already on its way and begin a start of their own
//! only if more wait than are coming. Until the revision's first start has succeeded there is only
//! one at a time, so that its code is loaded once however many ask at the same moment.
//!
//! Invariants: never more than `environments_max` environments, those being started included; an
//! environment is with one request at a time; who waits is served first come, first served, and
//! there is always something on its way or out that can serve them. The environment that was used
//! last is taken first: its caches are warm, and the others grow old enough to be ended (`keep`).
//!
//! Deliberately absent: starting anything, and the clock. The node carries out what is answered;
//! environments that keep the state of a key (`by_key`).

pub mod by_key;
pub mod pace;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;

use self::pace::{Figures, Pace};
use crate::id::EnvironmentId;
use crate::proof::Start;

/// What one pool may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Environments, those being started included.
    pub environments_max: NonZeroUsize,
    /// Starts at the same time.
    pub starts_parallel_max: NonZeroUsize,
    /// Requests that wait for an environment.
    pub waiting_max: usize,
}

/// How many of each kind a pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Environments free to be claimed.
    pub idle: usize,
    /// Environments with a request in them.
    pub busy: usize,
    /// Environments being made clean.
    pub renewing: usize,
    /// Environments being started.
    pub starting: usize,
    /// Requests that wait.
    pub waiting: usize,
}

impl Counts {
    /// All environments, those being started included.
    pub const fn environments(self) -> usize {
        self.idle + self.busy + self.renewing + self.starting
    }

    /// Environments that will be free soon without any request having to end.
    const fn coming(self) -> usize {
        self.renewing + self.starting
    }
}

/// What a request that needs an environment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Take one that is free.
    Take,
    /// Wait for one that is being made clean and is not spoken for: microseconds.
    WaitForRenewal,
    /// Wait for a start that another request began.
    JoinStart,
    /// Begin a start, and wait.
    StartAndWait,
    /// Wait for any that comes free.
    Wait,
    /// Too many wait already.
    Refuse,
}

/// What the next request does. `starts_max` is how many starts may run now.
pub const fn decide(counts: Counts, bounds: Bounds, starts_max: usize) -> Decision {
    if counts.idle > counts.waiting {
        Decision::Take
    } else if counts.waiting >= bounds.waiting_max {
        Decision::Refuse
    } else if counts.waiting < counts.renewing {
        Decision::WaitForRenewal
    } else if counts.waiting < counts.coming() {
        Decision::JoinStart
    } else if counts.starting < starts_max && counts.environments() < bounds.environments_max.get()
    {
        Decision::StartAndWait
    } else if counts.starting > 0 {
        Decision::JoinStart
    } else {
        Decision::Wait
    }
}

/// A request that waits for an environment; given out in order, never twice by one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What became of a request that asked for an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acquired {
    /// It has one.
    Taken(EnvironmentId),
    /// It waits.
    Waits {
        /// To be named when it is served, fails, or gives up.
        ticket: Ticket,
        /// What follows; nobody is served.
        moves: Moves,
    },
    /// Too many wait already.
    Refused,
}

/// A waiting request gets an environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// Who.
    pub ticket: Ticket,
    /// What.
    pub environment: EnvironmentId,
    /// How it was come by.
    pub start: Start,
    /// What was waited for its renewal, in microseconds; 0: it was not being renewed meanwhile.
    pub renewal_wait_us: u64,
}

/// What follows from an event: carry out all of it, in the order of these fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Moves {
    /// Give an environment to a request that waits.
    pub serve: Option<Served>,
    /// End these environments, which nobody uses: their places are needed.
    pub ended: Vec<EnvironmentId>,
    /// Begin this many starts.
    pub starts: usize,
}

/// The environment is not out: nobody can give it back. Always a mistake of the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment {} is not out of the pool", environment.0)]
pub struct NotOut {
    /// Which.
    pub environment: EnvironmentId,
}

/// An environment that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Which.
    pub environment: EnvironmentId,
    /// Since when, in the caller's milliseconds.
    pub since_ms: u64,
}

/// What an environment that is out does, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Out {
    Busy { since_us: u64 },
    Renewing { since_us: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// Whether it began a start.
    began: bool,
    since_us: u64,
}

/// The environments of one revision on one node.
#[derive(Debug)]
pub struct Pool {
    bounds: Bounds,
    /// Oldest first.
    idle: VecDeque<Idle>,
    out: BTreeMap<EnvironmentId, Out>,
    renewing: usize,
    starting: usize,
    /// Whether a start ever succeeded.
    proven: bool,
    waiting: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    pace: Pace,
}

impl Pool {
    /// An empty pool.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            idle: VecDeque::new(),
            out: BTreeMap::new(),
            renewing: 0,
            starting: 0,
            proven: false,
            waiting: BTreeMap::new(),
            next_ticket: 0,
            pace: Pace::default(),
        }
    }

    /// How many of each kind there are.
    pub fn counts(&self) -> Counts {
        Counts {
            idle: self.idle.len(),
            busy: self.out.len() - self.renewing,
            renewing: self.renewing,
            starting: self.starting,
            waiting: self.waiting.len(),
        }
    }

    /// Those that nobody uses, the longest unused first.
    pub fn idle(&self) -> impl ExactSizeIterator<Item = Idle> + '_ {
        self.idle.iter().copied()
    }

    /// What its requests take lately.
    pub fn figures(&mut self, now_us: u64) -> Figures {
        self.note_under_way(now_us);
        self.pace.figures(now_us)
    }

    /// The figures were judged: waits are counted anew.
    pub fn judged(&mut self) {
        self.pace.judged();
    }

    /// A request needs an environment.
    pub fn acquire(&mut self, now_us: u64) -> Acquired {
        let decision = decide(self.counts(), self.bounds, self.starts_max());
        self.pace.arrived(now_us);
        match decision {
            Decision::Refuse => return Acquired::Refused,
            Decision::Take => {
                if let Some(idle) = self.idle.pop_back() {
                    let busy = Out::Busy { since_us: now_us };
                    self.out.insert(idle.environment, busy);
                    self.pace.seated(0);
                    self.note_under_way(now_us);
                    return Acquired::Taken(idle.environment);
                }
            }
            Decision::WaitForRenewal
            | Decision::JoinStart
            | Decision::StartAndWait
            | Decision::Wait => {}
        }
        let start = decision == Decision::StartAndWait;
        self.starting += usize::from(start);
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let waiting = Waiting {
            began: start,
            since_us: now_us,
        };
        self.waiting.insert(ticket, waiting);
        self.note_under_way(now_us);
        let moves = Moves {
            starts: usize::from(start),
            ..Moves::default()
        };
        Acquired::Waits { ticket, moves }
    }

    /// Asks to start one environment before anybody needs it. True: begin it.
    pub fn start_ahead(&mut self) -> bool {
        let allowed = self.starting < self.starts_max()
            && self.counts().environments() < self.bounds.environments_max.get();
        self.starting += usize::from(allowed);
        allowed
    }

    /// A start succeeded. The id must be new.
    pub fn started(&mut self, environment: EnvironmentId, now_us: u64) -> Moves {
        self.starting = self.starting.saturating_sub(1);
        self.proven = true;
        let serve = self.hand_out(environment, now_us, None, |began| {
            if began { Start::Cold } else { Start::Joined }
        });
        Moves {
            serve,
            starts: self.begin_missing(),
            ..Moves::default()
        }
    }

    /// A start failed. It is not tried again by itself: the next request that finds nothing may.
    /// Answers who has now nothing left to wait for, and fails with it.
    #[must_use]
    pub fn start_failed(&mut self) -> Vec<Ticket> {
        self.starting = self.starting.saturating_sub(1);
        if self.starting > 0 || !self.out.is_empty() {
            return Vec::new();
        }
        std::mem::take(&mut self.waiting).into_keys().collect()
    }

    /// The run in an environment is over and it is being made clean.
    ///
    /// # Errors
    /// If it is not out.
    pub fn renewing(&mut self, environment: EnvironmentId, now_us: u64) -> Result<(), NotOut> {
        let out = self
            .out
            .get_mut(&environment)
            .ok_or(NotOut { environment })?;
        if let Out::Busy { since_us } = *out {
            *out = Out::Renewing { since_us: now_us };
            self.renewing += 1;
            self.pace.ran(now_us.saturating_sub(since_us));
            self.note_under_way(now_us);
        }
        Ok(())
    }

    /// An environment may be claimed again.
    ///
    /// # Errors
    /// If it is not out; nothing is changed then.
    pub fn released(&mut self, environment: EnvironmentId, now_us: u64) -> Result<Moves, NotOut> {
        let out = self
            .out
            .remove(&environment)
            .ok_or(NotOut { environment })?;
        let renewing_since_us = match out {
            Out::Busy { since_us } => {
                self.pace.ran(now_us.saturating_sub(since_us));
                None
            }
            Out::Renewing { since_us } => {
                self.renewing -= 1;
                self.pace.renewed(now_us.saturating_sub(since_us));
                Some(since_us)
            }
        };
        // Whoever began a start and gets this one instead did not wait for anything to be made.
        let serve = self.hand_out(environment, now_us, renewing_since_us, |_| Start::Warm);
        self.note_under_way(now_us);
        Ok(Moves {
            serve,
            ..Moves::default()
        })
    }

    /// An environment is gone, whatever it was doing. One that is not known changes nothing.
    pub fn died(&mut self, environment: EnvironmentId) -> Moves {
        if let Some(out) = self.out.remove(&environment) {
            self.renewing -= usize::from(matches!(out, Out::Renewing { .. }));
        } else {
            self.idle.retain(|idle| idle.environment != environment);
        }
        Moves {
            starts: self.begin_missing(),
            ..Moves::default()
        }
    }

    /// A request that waited has given up. False: it did not wait any more.
    pub fn expired(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket).is_some()
    }

    /// Takes out for good those that were unused longest, at most `count`.
    pub fn retire(&mut self, count: usize) -> Vec<EnvironmentId> {
        let count = count.min(self.idle.len());
        self.idle
            .drain(..count)
            .map(|idle| idle.environment)
            .collect()
    }

    const fn starts_max(&self) -> usize {
        if self.proven {
            self.bounds.starts_parallel_max.get()
        } else {
            1
        }
    }

    /// `renewing_since_us`: since when it was being renewed.
    fn hand_out(
        &mut self,
        environment: EnvironmentId,
        now_us: u64,
        renewing_since_us: Option<u64>,
        start: impl FnOnce(bool) -> Start,
    ) -> Option<Served> {
        let Some((ticket, waiting)) = self.waiting.pop_first() else {
            self.idle.push_back(Idle {
                environment,
                since_ms: now_us / 1_000,
            });
            return None;
        };
        let busy = Out::Busy { since_us: now_us };
        self.out.insert(environment, busy);
        let renewal_wait_us = renewing_since_us.map_or(0, |since_us| {
            now_us.saturating_sub(since_us.max(waiting.since_us))
        });
        self.pace.seated(renewal_wait_us);
        Some(Served {
            ticket,
            environment,
            start: start(waiting.began),
            renewal_wait_us,
        })
    }

    fn note_under_way(&mut self, now_us: u64) {
        let counts = self.counts();
        self.pace.under_way(counts.busy + counts.waiting, now_us);
    }

    /// Starts for those who wait and for whom nothing is on its way.
    fn begin_missing(&mut self) -> usize {
        let counts = self.counts();
        let room = self
            .bounds
            .environments_max
            .get()
            .saturating_sub(counts.environments());
        let starts = counts
            .waiting
            .saturating_sub(counts.coming())
            .min(room)
            .min(self.starts_max().saturating_sub(self.starting));
        self.starting += starts;
        starts
    }
}

//! Admission: which request runs now, which waits, and which is sent away.
//!
//! ```text
//! arrive ─┬→ runs ─finished→ gone
//!         ├→ waits ─admit_next→ runs
//!         │     └─gone, expired→ gone
//!         └→ refused
//! ```
//!
//! Every function has a line of its own (`line`). Where it keeps state by key, the requests of one
//! key run one after the other, and those that wait hold up no other key. The *round* holds the
//! functions that have somebody waiting and room to run; `admit_next` takes one from each in turn.
//!
//! Invariants: no bound is exceeded, overall or of a function; within a function first come, first
//! served among those whose key is not in use; between functions round robin, so that one with a
//! long line delays another by one request at most; nobody waits who could run, once `admit_next`
//! has answered `None`.
//!
//! Deliberately absent: the clock and the tasks that wait. After any other call, ask
//! `admit_next` until it answers `None`, and wake whom it names.

mod line;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use crate::key::Key;

use line::{Line, Waiting};

/// Longest time that a refused caller is told to stay away, in seconds.
pub const RETRY_AFTER_MAX_S: u32 = 60;

/// Bounds over all functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overall {
    /// Requests that run at once.
    pub running_max: usize,
    /// Requests that wait.
    pub waiting_max: usize,
    /// What those that wait hold in memory, in bytes.
    pub waiting_max_bytes: u64,
}

/// Bounds of one function; each arrival brings those of the function's deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerFunction {
    /// Requests that run at once; 0 counts as 1.
    pub concurrency_max: u32,
    /// Requests that wait.
    pub queue_max: u32,
    /// How long each of them may, in milliseconds.
    pub queue_wait_max_ms: u64,
}

/// A request that waits; given out in order, never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It runs; `finished` is due when it has ended.
    Run,
    /// It waits until `admit_next` names it, or it expires, or it is gone.
    Wait(Ticket),
    /// It is sent away.
    Refuse {
        /// When everybody who waits now will have been served or sent away, in seconds.
        retry_after_s: u32,
    },
}

/// A request that waited, and does not wait any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited<K> {
    /// Its function.
    pub function: K,
    /// Its key, where it has one.
    pub key: Option<Key>,
    /// Which.
    pub ticket: Ticket,
}

/// How many requests run and wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// That run.
    pub running: usize,
    /// That wait.
    pub waiting: usize,
    /// What those hold in memory, in bytes.
    pub waiting_bytes: u64,
}

/// The door: one for all functions of a gateway.
#[derive(Debug)]
pub struct Admission<K> {
    overall: Overall,
    load: Load,
    lines: HashMap<K, Line>,
    /// Functions with somebody waiting and room to run; some may have lost either meanwhile.
    round: VecDeque<K>,
    /// Everybody who waits, by the moment until which.
    until: BTreeMap<(u64, Ticket), (K, Option<Key>)>,
    next_ticket: u64,
}

impl<K: Eq + Hash + Clone> Admission<K> {
    /// Nobody is there.
    pub fn new(overall: Overall) -> Self {
        Self {
            overall,
            load: Load::default(),
            lines: HashMap::new(),
            round: VecDeque::new(),
            until: BTreeMap::new(),
            next_ticket: 0,
        }
    }

    /// How many run and wait in all.
    pub const fn load(&self) -> Load {
        self.load
    }

    /// How many run and wait of one function.
    pub fn load_of(&self, function: &K) -> Load {
        self.lines
            .get(function)
            .map_or(Load::default(), |line| Load {
                running: line.running(),
                waiting: line.waiting(),
                waiting_bytes: line.waiting_bytes(),
            })
    }

    /// A request arrives that holds `bytes` of memory while it waits. With a `key` it runs when no
    /// other request of that key does.
    pub fn arrive(
        &mut self,
        function: &K,
        key: Option<&Key>,
        bounds: PerFunction,
        bytes: u64,
        now_ms: u64,
    ) -> Arrival {
        if self.begin(function, key, bounds) {
            return Arrival::Run;
        }
        // The bounds may have grown since the last arrival, for those who wait already.
        self.enter_round(function);
        let line = self.lines.entry(function.clone()).or_default();
        let bytes_then = self.load.waiting_bytes.saturating_add(bytes);
        if !line.admits(bounds, key)
            || self.load.waiting >= self.overall.waiting_max
            || bytes_then > self.overall.waiting_max_bytes
        {
            return refuse(bounds);
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let until_ms = now_ms.saturating_add(bounds.queue_wait_max_ms);
        let waiting = Waiting {
            until_ms,
            bytes,
            key: key.cloned(),
        };
        line.push(ticket, waiting);
        let who = (function.clone(), key.cloned());
        self.until.insert((until_ms, ticket), who);
        self.load.waiting += 1;
        self.load.waiting_bytes = bytes_then;
        self.enter_round(function);
        Arrival::Wait(ticket)
    }

    /// A request that ran has ended.
    pub fn finished(&mut self, function: &K, key: Option<&Key>) {
        if let Some(line) = self.lines.get_mut(function)
            && line.finished(key)
        {
            self.load.running -= 1;
            self.enter_round(function);
        }
    }

    /// Who runs next of those that wait, if anybody can; `finished` is due when it has ended.
    pub fn admit_next(&mut self) -> Option<Waited<K>> {
        if self.load.running >= self.overall.running_max {
            return None;
        }
        while let Some(function) = self.round.pop_front() {
            let Some(line) = self.lines.get_mut(&function) else {
                continue;
            };
            line.in_round = false;
            if !line.can_run() {
                continue;
            }
            let Some((ticket, waiting)) = line.pop() else {
                continue;
            };
            self.load.running += 1;
            self.leave(ticket, &waiting);
            self.enter_round(&function);
            return Some(Waited {
                function,
                key: waiting.key,
                ticket,
            });
        }
        None
    }

    /// A request that waited has gone away. False: it did not wait any more, so it runs, and
    /// `finished` is due.
    pub fn gone(&mut self, function: &K, key: Option<&Key>, ticket: Ticket) -> bool {
        let line = self.lines.get_mut(function);
        let Some(waiting) = line.and_then(|line| line.remove(ticket, key)) else {
            return false;
        };
        self.leave(ticket, &waiting);
        // Whoever stood behind it may be able to run now.
        self.enter_round(function);
        true
    }

    /// One request that has waited as long as it may; ask until there is none.
    pub fn expired(&mut self, now_ms: u64) -> Option<Waited<K>> {
        if self.next_expiry_ms()? > now_ms {
            return None;
        }
        let ((_, ticket), (function, key)) = self.until.pop_first()?;
        self.gone(&function, key.as_ref(), ticket);
        Some(Waited {
            function,
            key,
            ticket,
        })
    }

    /// When the next request will have waited as long as it may.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.until
            .first_key_value()
            .map(|((until_ms, _), _)| *until_ms)
    }

    /// Forgets the functions of which nothing runs and nothing waits. To be called at leisure, such
    /// as when functions were deleted: a function that is not known costs its first request only.
    pub fn sweep(&mut self) {
        self.lines
            .retain(|_, line| line.running() > 0 || line.waiting() > 0);
        let lines = &self.lines;
        self.round.retain(|function| lines.contains_key(function));
    }

    /// The fast path: with room and nobody before it, a request runs at once.
    fn begin(&mut self, function: &K, key: Option<&Key>, bounds: PerFunction) -> bool {
        let room = self.load.running < self.overall.running_max;
        let began = if let Some(line) = self.lines.get_mut(function) {
            line.begin(bounds, key, room)
        } else {
            let mut line = Line::default();
            let began = line.begin(bounds, key, room);
            self.lines.insert(function.clone(), line);
            began
        };
        self.load.running += usize::from(began);
        began
    }

    fn enter_round(&mut self, function: &K) {
        if let Some(line) = self.lines.get_mut(function)
            && !line.in_round
            && line.can_run()
        {
            line.in_round = true;
            self.round.push_back(function.clone());
        }
    }

    fn leave(&mut self, ticket: Ticket, waiting: &Waiting) {
        self.until.remove(&(waiting.until_ms, ticket));
        self.load.waiting -= 1;
        self.load.waiting_bytes -= waiting.bytes;
    }
}

/// By then everybody who waits now has been served or sent away.
fn refuse(bounds: PerFunction) -> Arrival {
    let wait_s = bounds.queue_wait_max_ms.div_ceil(1_000);
    let retry_after_s = u32::try_from(wait_s).unwrap_or(RETRY_AFTER_MAX_S);
    Arrival::Refuse {
        retry_after_s: retry_after_s.clamp(1, RETRY_AFTER_MAX_S),
    }
}

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
//! key run one after the other, and those that wait hold up no other key. The functions of one
//! owner are a group (`group`), with a bound of its own where the owner has one. The *round* holds
//! the owners that have somebody waiting and room to run, and each group the same of its functions;
//! `admit_next` takes one from each owner in turn, and of it from each function in turn.
//!
//! Invariants: no bound is exceeded, overall, of an owner or of a function; within a function first
//! come, first served among those whose key is not in use; between owners round robin, and so
//! between the functions of one, so that a long line delays another owner by one request at most;
//! nobody waits who could run, once `admit_next` has answered `None`.
//!
//! Deliberately absent: the clock and the tasks that wait. After any other call, ask
//! `admit_next` until it answers `None`, and wake whom it names.

mod group;
mod line;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;

use crate::key::Key;

use group::Group;
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

/// Whose function it is; each arrival brings what holds for the owner now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerOwner {
    /// The owner, by a number.
    pub owner: u64,
    /// Requests that run at once, over all functions of the owner; none: no such bound.
    pub concurrency_max: Option<u32>,
}

/// Whose bound holds a request up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The function's.
    Function,
    /// The owner's.
    Owner,
    /// That over all owners.
    Overall,
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
        /// Whose bound is reached.
        bound: Bound,
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
    groups: HashMap<u64, Group<K>>,
    /// Owners with somebody waiting and room to run; some may have lost either meanwhile.
    round: VecDeque<u64>,
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
            groups: HashMap::new(),
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

    /// How many run and wait of one owner.
    pub fn load_of_owner(&self, owner: u64) -> Load {
        self.groups
            .get(&owner)
            .map_or(Load::default(), |group| Load {
                running: group.running,
                waiting: group.waiting,
                waiting_bytes: group.waiting_bytes,
            })
    }

    /// Whose bound holds up those of a function that wait.
    pub fn held_by(&self, function: &K) -> Bound {
        let Some(line) = self.lines.get(function) else {
            return Bound::Overall;
        };
        let group = self.groups.get(&line.owner);
        if group.is_some_and(|group| !group.has_room()) {
            Bound::Owner
        } else if !line.has_room() || self.load.running < self.overall.running_max {
            Bound::Function
        } else {
            Bound::Overall
        }
    }

    /// A request arrives that holds `bytes` of memory while it waits. With a `key` it runs when no
    /// other request of that key does.
    pub fn arrive(
        &mut self,
        function: &K,
        owner: PerOwner,
        key: Option<&Key>,
        bounds: PerFunction,
        bytes: u64,
        now_ms: u64,
    ) -> Arrival {
        if self.begin(function, owner, key, bounds) {
            return Arrival::Run;
        }
        // The bounds may have grown since the last arrival, for those who wait already.
        self.enter_round(function);
        let others = self.groups.len() > 1;
        let line = self.lines.entry(function.clone());
        let line = line.or_insert_with(|| Line::of(owner.owner));
        let group = self.groups.entry(owner.owner).or_insert_with(Group::new);
        let bytes_then = self.load.waiting_bytes.saturating_add(bytes);
        if !line.admits(bounds, key)
            || !group.admits(self.overall, bytes, others)
            || self.load.waiting >= self.overall.waiting_max
            || bytes_then > self.overall.waiting_max_bytes
        {
            let bound = self.held_by(function);
            return refuse(bound, bounds);
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
        group.waiting += 1;
        group.waiting_bytes += bytes;
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
            if let Some(group) = self.groups.get_mut(&line.owner) {
                group.running -= 1;
            }
            self.enter_round(function);
        }
    }

    /// Who runs next of those that wait, if anybody can; `finished` is due when it has ended.
    pub fn admit_next(&mut self) -> Option<Waited<K>> {
        if self.load.running >= self.overall.running_max {
            return None;
        }
        while let Some(owner) = self.round.pop_front() {
            let Some(group) = self.groups.get_mut(&owner) else {
                continue;
            };
            group.in_round = false;
            if !group.has_room() {
                continue;
            }
            let Some(waited) = self.admit_of(owner) else {
                continue;
            };
            self.enter_round(&waited.function);
            return Some(waited);
        }
        None
    }

    /// The same of one owner, who has room.
    fn admit_of(&mut self, owner: u64) -> Option<Waited<K>> {
        let group = self.groups.get_mut(&owner)?;
        while let Some(function) = group.round.pop_front() {
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
            group.running += 1;
            self.load.running += 1;
            self.leave(owner, ticket, &waiting);
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
        let Some(line) = self.lines.get_mut(function) else {
            return false;
        };
        let owner = line.owner;
        let Some(waiting) = line.remove(ticket, key) else {
            return false;
        };
        self.leave(owner, ticket, &waiting);
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
        self.groups.retain(|_, group| !group.is_idle());
        let (lines, groups) = (&self.lines, &self.groups);
        self.round.retain(|owner| groups.contains_key(owner));
        for group in self.groups.values_mut() {
            group.round.retain(|function| lines.contains_key(function));
        }
    }

    /// The fast path: with room and nobody before it, a request runs at once.
    fn begin(
        &mut self,
        function: &K,
        owner: PerOwner,
        key: Option<&Key>,
        bounds: PerFunction,
    ) -> bool {
        let group = self.groups.entry(owner.owner).or_insert_with(Group::new);
        let lines = &self.lines;
        let can_run = |function| lines.get(function).is_some_and(Line::can_run);
        // Whoever waits for the room that there is only now was here before.
        let before = group.bound(owner) && group.round.iter().any(can_run);
        let room = self.load.running < self.overall.running_max && group.has_room() && !before;
        let began = if let Some(line) = self.lines.get_mut(function) {
            line.begin(bounds, key, room)
        } else {
            let mut line = Line::of(owner.owner);
            let began = line.begin(bounds, key, room);
            self.lines.insert(function.clone(), line);
            began
        };
        group.running += usize::from(began);
        self.load.running += usize::from(began);
        began
    }

    /// Lets a function that can run stand in the round of its owner, and the owner in that of all.
    fn enter_round(&mut self, function: &K) {
        let Some(line) = self.lines.get_mut(function) else {
            return;
        };
        let Some(group) = self.groups.get_mut(&line.owner) else {
            return;
        };
        if !line.in_round && line.can_run() {
            line.in_round = true;
            group.round.push_back(function.clone());
        }
        if !group.in_round && group.has_room() && !group.round.is_empty() {
            group.in_round = true;
            self.round.push_back(line.owner);
        }
    }

    fn leave(&mut self, owner: u64, ticket: Ticket, waiting: &Waiting) {
        self.until.remove(&(waiting.until_ms, ticket));
        if let Some(group) = self.groups.get_mut(&owner) {
            group.waiting -= 1;
            group.waiting_bytes -= waiting.bytes;
        }
        self.load.waiting -= 1;
        self.load.waiting_bytes -= waiting.bytes;
    }
}

/// By then everybody who waits now has been served or sent away.
fn refuse(bound: Bound, bounds: PerFunction) -> Arrival {
    let wait_s = bounds.queue_wait_max_ms.div_ceil(1_000);
    let retry_after_s = u32::try_from(wait_s).unwrap_or(RETRY_AFTER_MAX_S);
    Arrival::Refuse {
        bound,
        retry_after_s: retry_after_s.clamp(1, RETRY_AFTER_MAX_S),
    }
}

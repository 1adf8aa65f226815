//! The environments of one revision on one node where state is kept by key: which key has one, who
//! waits, and whose state is given up for whom.
//!
//! ```text
//! start ─started→ clean ─acquire→ out ─released→ kept ─acquire, same key→ out
//!                                  └died→ gone     └─too many keys, or unused for long→ ended
//! ```
//!
//! A *clean* environment is anybody's; the first key that takes one owns it from then on. A key
//! without an environment waits for a start, and where there is no room for one, the environment is
//! ended that was used least recently. A key's requests run one at a time, first come, first
//! served; among keys without an environment, the one whose first request has waited longest is
//! next.
//!
//! Invariants: never more than `environments_max` environments, those being started included; an
//! environment that one key has used is never another one's; one that is out, or whose key waits,
//! is never ended for another key; who waits is never forgotten; a key that has neither an
//! environment nor anybody who waits takes up no memory.
//!
//! Deliberately absent: starting and ending anything, and the clock. The node carries out what is
//! answered.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{Acquired, Bounds, Counts, Idle, Moves, NotOut, Served, Ticket};
use crate::id::EnvironmentId;
use crate::key::Key;
use crate::proof::Start;

/// The environments of one revision, by key. See the module.
#[derive(Debug)]
pub struct ByKey {
    bounds: Bounds,
    /// Nobody's yet, longest unused first.
    clean: VecDeque<Idle>,
    /// Some key's and not in use, by the turn in which it was used last.
    kept: BTreeMap<u64, Kept>,
    /// In use, and by whom; none: by whoever deploys, who runs nothing in it.
    out: BTreeMap<EnvironmentId, Option<Key>>,
    /// Every key that has an environment, or somebody who waits.
    keys: HashMap<Key, Line>,
    waiting: BTreeMap<Ticket, Waiting>,
    /// Those of them for whom an environment has to be started: of each key without one the first.
    homeless: BTreeSet<Ticket>,
    starting: usize,
    /// Whether a start ever succeeded.
    proven: bool,
    /// Whether state was given up because a start had failed, and none has succeeded since.
    squeezed: bool,
    next_ticket: u64,
    next_turn: u64,
}

#[derive(Debug)]
struct Kept {
    key: Key,
    idle: Idle,
}

#[derive(Debug, Default)]
struct Line {
    home: Home,
    waiting: BTreeSet<Ticket>,
}

/// Where a key's environment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    Nowhere,
    /// Not in use, since this turn.
    Kept(u64),
    Out,
}

#[derive(Debug)]
struct Waiting {
    key: Option<Key>,
    /// Whether a start was begun for it.
    began: bool,
}

/// What follows from a start that failed.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Failed {
    /// Who has now nothing left to wait for, and fails with it.
    pub tickets: Vec<Ticket>,
    /// What is to be carried out beside that.
    pub moves: Moves,
}

impl ByKey {
    /// No environments; `bounds.environments_max` is how many keys may have one.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            clean: VecDeque::new(),
            kept: BTreeMap::new(),
            out: BTreeMap::new(),
            keys: HashMap::new(),
            waiting: BTreeMap::new(),
            homeless: BTreeSet::new(),
            starting: 0,
            proven: false,
            squeezed: false,
            next_ticket: 0,
            next_turn: 0,
        }
    }

    /// How many of each kind there are. Environments that are kept count as idle.
    pub fn counts(&self) -> Counts {
        Counts {
            idle: self.clean.len() + self.kept.len(),
            busy: self.out.len(),
            renewing: 0,
            starting: self.starting,
            waiting: self.waiting.len(),
        }
    }

    /// Keys that have an environment.
    pub fn keys(&self) -> usize {
        let in_use = self.out.values().filter(|key| key.is_some());
        self.kept.len() + in_use.count()
    }

    /// Environments that are nobody's yet, the longest unused first.
    pub fn clean(&self) -> impl ExactSizeIterator<Item = Idle> + '_ {
        self.clean.iter().copied()
    }

    /// A request of this key needs an environment; none: whoever deploys needs to see one.
    pub fn acquire(&mut self, key: Option<&Key>) -> Acquired {
        let home = key.and_then(|key| self.keys.get(key)).map(|line| line.home);
        match (key, home) {
            (Some(key), Some(Home::Kept(turn))) => {
                if let Some(kept) = self.kept.remove(&turn) {
                    return Acquired::Taken(self.give(kept.idle.environment, Some(key.clone())));
                }
            }
            (_, Some(Home::Kept(_) | Home::Out)) => {}
            // Whoever is first in line was given a clean one already, if there was one.
            (_, None | Some(Home::Nowhere)) => {
                if let Some(clean) = self.clean.pop_back() {
                    return Acquired::Taken(self.give(clean.environment, key.cloned()));
                }
            }
        }
        self.wait(key)
    }

    /// Asks to start one environment before anybody needs it; nobody's state is given up for that.
    /// True: begin it.
    pub fn start_ahead(&mut self) -> bool {
        let allowed = self.starting < self.starts_max() && self.has_room();
        self.starting += usize::from(allowed);
        allowed
    }

    /// A start succeeded. The id must be new.
    pub fn started(&mut self, environment: EnvironmentId, now_ms: u64) -> Moves {
        self.starting = self.starting.saturating_sub(1);
        (self.proven, self.squeezed) = (true, false);
        let serve = self.hand_out(environment, now_ms, |began| {
            if began { Start::Cold } else { Start::Joined }
        });
        self.begin_missing(serve)
    }

    /// A start failed. Others have succeeded where state is kept, so the machine may have no room
    /// for as many: the state that was used least recently is given up, and the start tried once
    /// more. After that it is not tried again by itself: the next request that finds nothing may.
    pub fn start_failed(&mut self) -> Failed {
        self.starting = self.starting.saturating_sub(1);
        if !self.squeezed
            && !self.homeless.is_empty()
            && let Some(ended) = self.give_up()
        {
            self.squeezed = true;
            self.starting += 1;
            let moves = Moves {
                ended: vec![ended],
                starts: 1,
                ..Moves::default()
            };
            return Failed {
                moves,
                ..Failed::default()
            };
        }
        let mut failed = Failed::default();
        if self.starting > 0 {
            return failed;
        }
        for first in std::mem::take(&mut self.homeless) {
            match self.waiting.remove(&first).and_then(|first| first.key) {
                None => failed.tickets.push(first),
                Some(key) => {
                    let line = self.keys.remove(&key).unwrap_or_default();
                    for ticket in line.waiting {
                        self.waiting.remove(&ticket);
                        failed.tickets.push(ticket);
                    }
                }
            }
        }
        failed.tickets.sort_unstable();
        failed
    }

    /// An environment may be claimed again: by its key, where it has one.
    ///
    /// # Errors
    /// If it is not out; nothing is changed then.
    pub fn released(&mut self, environment: EnvironmentId, now_ms: u64) -> Result<Moves, NotOut> {
        let holder = self
            .out
            .remove(&environment)
            .ok_or(NotOut { environment })?;
        let Some(key) = holder else {
            let serve = self.hand_out(environment, now_ms, |_| Start::Warm);
            return Ok(self.begin_missing(serve));
        };
        let line = self.keys.entry(key.clone()).or_default();
        if let Some(ticket) = line.waiting.pop_first() {
            self.waiting.remove(&ticket);
            self.out.insert(environment, Some(key));
            let start = Start::Warm;
            return Ok(self.begin_missing(Some(Served {
                ticket,
                environment,
                start,
                renewal_wait_us: 0,
            })));
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        line.home = Home::Kept(turn);
        let idle = Idle {
            environment,
            since_ms: now_ms,
        };
        self.kept.insert(turn, Kept { key, idle });
        Ok(self.begin_missing(None))
    }

    /// An environment is gone, whatever it was doing, and with it the state of its key. One that is
    /// not known changes nothing.
    pub fn died(&mut self, environment: EnvironmentId) -> Moves {
        if let Some(holder) = self.out.remove(&environment) {
            if let Some(key) = holder {
                self.homeless_now(&key);
            }
        } else if let Some(turn) = self.turn_of(environment) {
            self.forget(turn);
        } else {
            self.clean.retain(|idle| idle.environment != environment);
        }
        self.begin_missing(None)
    }

    /// A request that waited has given up. False: it did not wait any more.
    pub fn expired(&mut self, ticket: Ticket) -> bool {
        let Some(waiting) = self.waiting.remove(&ticket) else {
            return false;
        };
        let was_first = self.homeless.remove(&ticket);
        let Some(key) = waiting.key else { return true };
        if let Some(line) = self.keys.get_mut(&key) {
            line.waiting.remove(&ticket);
            if was_first {
                self.homeless_now(&key);
            }
        }
        true
    }

    /// Takes out for good those that are nobody's and were unused longest, at most `count`.
    pub fn retire(&mut self, count: usize) -> Vec<EnvironmentId> {
        let count = count.min(self.clean.len());
        let retired = self.clean.drain(..count);
        retired.map(|idle| idle.environment).collect()
    }

    /// Takes out for good those whose keys have not been used for so long.
    pub fn retire_unused(&mut self, key_idle_max_ms: u64, now_ms: u64) -> Vec<EnvironmentId> {
        let mut retired = Vec::new();
        while let Some((turn, kept)) = self.kept.first_key_value()
            && kept.idle.since_ms.saturating_add(key_idle_max_ms) <= now_ms
        {
            let turn = *turn;
            retired.extend(self.forget(turn));
        }
        retired
    }

    /// Takes out for good all that nobody uses now.
    pub fn retire_all(&mut self) -> Vec<EnvironmentId> {
        let mut retired = self.retire(usize::MAX);
        while let Some(environment) = self.give_up() {
            retired.push(environment);
        }
        retired
    }

    const fn starts_max(&self) -> usize {
        if self.proven {
            self.bounds.starts_parallel_max.get()
        } else {
            1
        }
    }

    fn has_room(&self) -> bool {
        self.counts().environments() < self.bounds.environments_max.get()
    }

    fn give(&mut self, environment: EnvironmentId, key: Option<Key>) -> EnvironmentId {
        if let Some(key) = &key {
            self.keys.entry(key.clone()).or_default().home = Home::Out;
        }
        self.out.insert(environment, key);
        environment
    }

    fn wait(&mut self, key: Option<&Key>) -> Acquired {
        if self.waiting.len() >= self.bounds.waiting_max {
            return Acquired::Refused;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let waiting = Waiting {
            key: key.cloned(),
            began: false,
        };
        self.waiting.insert(ticket, waiting);
        let first = match key {
            None => true,
            Some(key) => {
                let line = self.keys.entry(key.clone()).or_default();
                line.waiting.insert(ticket);
                line.home == Home::Nowhere && line.waiting.len() == 1
            }
        };
        if first {
            self.homeless.insert(ticket);
        }
        let moves = self.begin_missing(None);
        if let Some(waiting) = self.waiting.get_mut(&ticket) {
            waiting.began = moves.starts > 0;
        }
        Acquired::Waits { ticket, moves }
    }

    /// Gives an environment that is nobody's to who waits for one, or keeps it ready.
    fn hand_out(
        &mut self,
        environment: EnvironmentId,
        now_ms: u64,
        start: impl FnOnce(bool) -> Start,
    ) -> Option<Served> {
        let Some(ticket) = self.homeless.pop_first() else {
            self.clean.push_back(Idle {
                environment,
                since_ms: now_ms,
            });
            return None;
        };
        let waiting = self.waiting.remove(&ticket)?;
        if let Some(key) = &waiting.key {
            let line = self.keys.entry(key.clone()).or_default();
            line.waiting.remove(&ticket);
        }
        Some(Served {
            ticket,
            environment: self.give(environment, waiting.key),
            start: start(waiting.began),
            renewal_wait_us: 0,
        })
    }

    /// Starts for keys that wait without an environment and for whom nothing is on its way; where
    /// there is no room, in the place of the least recently used. A key whose environment has died
    /// gets a clean one where there is one.
    fn begin_missing(&mut self, serve: Option<Served>) -> Moves {
        let mut moves = Moves {
            serve: serve.or_else(|| self.serve_clean()),
            ..Moves::default()
        };
        while self.homeless.len() > self.starting && self.starting < self.starts_max() {
            if !self.has_room() {
                let Some(ended) = self.give_up() else { break };
                moves.ended.push(ended);
            }
            self.starting += 1;
            moves.starts += 1;
        }
        moves
    }

    fn serve_clean(&mut self) -> Option<Served> {
        self.homeless.first()?;
        let clean = self.clean.pop_back()?;
        self.hand_out(clean.environment, clean.since_ms, |_| Start::Warm)
    }

    /// Gives up the state that was used least recently.
    fn give_up(&mut self) -> Option<EnvironmentId> {
        let turn = *self.kept.first_key_value()?.0;
        self.forget(turn)
    }

    /// Nobody waits for what is kept, so its key is forgotten with it.
    fn forget(&mut self, turn: u64) -> Option<EnvironmentId> {
        let kept = self.kept.remove(&turn)?;
        self.keys.remove(&kept.key);
        Some(kept.idle.environment)
    }

    fn turn_of(&self, environment: EnvironmentId) -> Option<u64> {
        let mut kept = self.kept.iter();
        kept.find(|(_, kept)| kept.idle.environment == environment)
            .map(|(turn, _)| *turn)
    }

    /// A key has no environment (any more): whoever waits first for it needs one.
    fn homeless_now(&mut self, key: &Key) {
        let Some(line) = self.keys.get_mut(key) else {
            return;
        };
        line.home = Home::Nowhere;
        match line.waiting.first() {
            Some(first) => drop(self.homeless.insert(*first)),
            None => drop(self.keys.remove(key)),
        }
    }
}

//! The line of one function: who of it runs, and who waits.
//!
//! Requests that bring a key run one at a time for each key. Of a key, one request at most stands
//! *in front*, where it can be admitted; the others stand behind it until it has ended or is gone,
//! and hold up nobody else.
//!
//! ```text
//! push ─┬ no key, or first of its key ► in front ─pop→ runs ─finished→ the key's next: in front
//!       └ else ► behind its key             └─remove→ the key's next: in front
//! ```
//!
//! Deliberately absent: bounds over all functions, and the clock (`admit`).

use std::collections::{BTreeMap, HashMap};

use super::{PerFunction, Ticket};
use crate::key::Key;

/// One function's requests.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) owner: u64,
    running: usize,
    concurrency_max: usize,
    front: BTreeMap<Ticket, Waiting>,
    /// Every key of which a request runs or stands in front.
    keys: HashMap<Key, Behind>,
    behind: usize,
    pub(super) in_round: bool,
}

/// The requests of one key behind the one that runs or stands in front.
#[derive(Debug, Default)]
struct Behind {
    runs: bool,
    waiting: BTreeMap<Ticket, Waiting>,
}

/// A request that waits.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) until_ms: u64,
    pub(super) bytes: u64,
    pub(super) key: Option<Key>,
}

impl Line {
    /// That of a function of this owner.
    pub(super) fn of(owner: u64) -> Self {
        Self {
            owner,
            ..Self::default()
        }
    }

    /// Lets a request run at once, if it can and nobody is before it.
    pub(super) fn begin(&mut self, bounds: PerFunction, key: Option<&Key>, room: bool) -> bool {
        self.concurrency_max = bounds.concurrency_max.max(1) as usize;
        let free = room && self.front.is_empty() && self.has_room();
        if !free {
            return false;
        }
        if let Some(key) = key {
            if self.keys.contains_key(key) {
                return false;
            }
            self.keys.entry(key.clone()).or_default().runs = true;
        }
        self.running += 1;
        true
    }

    /// Whether somebody who waits can run.
    pub(super) fn can_run(&self) -> bool {
        self.has_room() && !self.front.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.running < self.concurrency_max
    }

    pub(super) const fn running(&self) -> usize {
        self.running
    }

    pub(super) fn waiting(&self) -> usize {
        self.front.len() + self.behind
    }

    /// What those who wait hold in memory.
    pub(super) fn waiting_bytes(&self) -> u64 {
        let behind = self.keys.values().flat_map(|key| key.waiting.values());
        let all = self.front.values().chain(behind);
        all.map(|waiting| waiting.bytes).sum()
    }

    /// Whether one more of this key may wait: one key has at most half of the places, so that it
    /// does not shut the others out.
    pub(super) fn admits(&self, bounds: PerFunction, key: Option<&Key>) -> bool {
        let places = bounds.queue_max as usize;
        let of_key = key.and_then(|key| self.keys.get(key));
        self.waiting() < places
            && of_key.is_none_or(|key| key.waiting.len() + usize::from(!key.runs) < half(places))
    }

    /// One more waits.
    pub(super) fn push(&mut self, ticket: Ticket, waiting: Waiting) {
        if let Some(key) = &waiting.key {
            if let Some(key) = self.keys.get_mut(key) {
                key.waiting.insert(ticket, waiting);
                self.behind += 1;
                return;
            }
            self.keys.insert(key.clone(), Behind::default());
        }
        self.front.insert(ticket, waiting);
    }

    /// Whoever waits first in front runs.
    pub(super) fn pop(&mut self) -> Option<(Ticket, Waiting)> {
        let (ticket, waiting) = self.front.pop_first()?;
        if let Some(key) = &waiting.key {
            self.keys.entry(key.clone()).or_default().runs = true;
        }
        self.running += 1;
        Some((ticket, waiting))
    }

    /// Takes out one who waits.
    pub(super) fn remove(&mut self, ticket: Ticket, key: Option<&Key>) -> Option<Waiting> {
        if let Some(waiting) = self.front.remove(&ticket) {
            if let Some(key) = &waiting.key {
                self.next_of(key);
            }
            return Some(waiting);
        }
        let waiting = self.keys.get_mut(key?)?.waiting.remove(&ticket)?;
        self.behind -= 1;
        Some(waiting)
    }

    /// One that ran has ended. False: none of this key ran.
    pub(super) fn finished(&mut self, key: Option<&Key>) -> bool {
        if self.running == 0 {
            return false;
        }
        if let Some(key) = key {
            if !self.keys.get(key).is_some_and(|key| key.runs) {
                return false;
            }
            self.next_of(key);
        }
        self.running -= 1;
        true
    }

    /// Nobody of the key runs or stands in front any more.
    fn next_of(&mut self, key: &Key) {
        let Some(behind) = self.keys.get_mut(key) else {
            return;
        };
        behind.runs = false;
        if let Some((ticket, waiting)) = behind.waiting.pop_first() {
            self.behind -= 1;
            self.front.insert(ticket, waiting);
        } else {
            self.keys.remove(key);
        }
    }
}

const fn half(places: usize) -> usize {
    places.div_ceil(2)
}

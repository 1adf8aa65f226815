//! The requests of one owner: how many run, how many wait, and which functions are to be next.
//!
//! Deliberately absent: who of a function is next (`line`), and whose owner's turn it is (`admit`).

use std::collections::VecDeque;

use super::{Overall, PerOwner};

/// One owner's requests.
#[derive(Debug)]
pub(super) struct Group<K> {
    pub(super) running: usize,
    pub(super) waiting: usize,
    pub(super) waiting_bytes: u64,
    running_max: usize,
    /// Functions with somebody waiting and room of their own; some may have lost either meanwhile.
    pub(super) round: VecDeque<K>,
    /// Whether the owner stands in the round of owners.
    pub(super) in_round: bool,
}

impl<K> Group<K> {
    pub(super) fn new() -> Self {
        Self {
            running: 0,
            waiting: 0,
            waiting_bytes: 0,
            running_max: usize::MAX,
            round: VecDeque::new(),
            in_round: false,
        }
    }

    /// Takes over the bound that an arrival brings; says whether there is room only since then.
    pub(super) fn bound(&mut self, owner: PerOwner) -> bool {
        let had_room = self.has_room();
        self.running_max = owner
            .concurrency_max
            .map_or(usize::MAX, |running_max| running_max as usize);
        !had_room && self.has_room()
    }

    pub(super) const fn has_room(&self) -> bool {
        self.running < self.running_max
    }

    pub(super) const fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting == 0
    }

    /// Whether one more may wait: where there are others, one owner has at most half of the places
    /// and bytes, so that it does not shut them out.
    pub(super) fn admits(&self, overall: Overall, bytes: u64, others: bool) -> bool {
        let (places, room_bytes) = match others {
            true => (
                overall.waiting_max.div_ceil(2),
                overall.waiting_max_bytes.div_ceil(2),
            ),
            false => (overall.waiting_max, overall.waiting_max_bytes),
        };
        self.waiting < places && self.waiting_bytes.saturating_add(bytes) <= room_bytes
    }
}

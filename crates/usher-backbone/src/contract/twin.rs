//! Random steps beside a naive twin: a map and a counter.
//!
//! The steps come from outside (a generator that shrinks), so that this module needs none.

use bytes::Bytes;

use super::{Harness, Known, known, learn, next};
use crate::{Backbone, Change, Event, Expect, Op, Watch, WriteError};

/// One step of a script. Keys are `k.0`, `k.1` …
#[derive(Debug, Clone)]
pub enum Step {
    /// Applies ops, of which a later one on the same key is left out.
    Apply(Vec<TwinOp>),
    /// The watcher reads one event, if there must be one.
    Read,
    /// Closes and opens; a new watcher starts.
    Reopen,
}

/// One op, with an expectation that holds or fails as said.
#[derive(Debug, Clone)]
pub struct TwinOp {
    /// Which key.
    pub key: u8,
    /// The new value; `None` deletes.
    pub value: Option<u8>,
    /// What is expected of the key.
    pub guess: Guess,
}

/// What a [`TwinOp`] expects.
#[derive(Debug, Clone, Copy)]
pub enum Guess {
    /// Nothing.
    Any,
    /// That the key has no entry.
    Absent,
    /// The revision the key has, if it has an entry (else one that never was).
    Right,
    /// The revision before that.
    Wrong,
}

/// How a script went.
#[derive(Debug, Default, Clone, Copy)]
pub struct Followed {
    /// Writes that happened, ops of batches counted singly.
    pub writes: u64,
    /// Changes that watchers were told.
    pub told: u64,
    /// Batches that were refused, as they had to be.
    pub refused: u64,
}

#[derive(Default)]
struct Twin {
    entries: Known,
    revision: u64,
}

impl Twin {
    fn op(&self, op: &TwinOp) -> Op {
        let key = format!("k.{}", op.key);
        let at = self
            .entries
            .get(&key)
            .map_or(u64::MAX, |(_, revision)| *revision);
        let expect = match op.guess {
            Guess::Any => Expect::Any,
            Guess::Absent => Expect::Absent,
            Guess::Right => Expect::Revision(at),
            Guess::Wrong => Expect::Revision(at - 1),
        };
        let change = match op.value {
            Some(value) => Change::Put(Bytes::from(vec![value; usize::from(value)])),
            None => Change::Delete,
        };
        Op {
            key,
            change,
            expect,
        }
    }

    fn holds(&self, op: &Op) -> bool {
        let at = self.entries.get(&op.key).map(|(_, revision)| *revision);
        match op.expect {
            Expect::Any => true,
            Expect::Absent => at.is_none(),
            Expect::Revision(wanted) => at == Some(wanted),
        }
    }

    fn apply(&mut self, batch: &[Op]) -> Option<u64> {
        if !batch.iter().all(|op| self.holds(op)) {
            return None;
        }
        for op in batch {
            self.revision += 1;
            match &op.change {
                Change::Put(value) => {
                    let slot = (value.clone(), self.revision);
                    self.entries.insert(op.key.clone(), slot);
                }
                Change::Delete => {
                    self.entries.remove(&op.key);
                }
            }
        }
        Some(self.revision)
    }
}

/// A watcher of all keys that knows whether something is left to read.
struct Reader {
    watch: Watch,
    seen: Known,
    /// The last revision that an event has told.
    at: u64,
    told: u64,
}

impl Reader {
    async fn new(backbone: &dyn Backbone) -> Self {
        let watch = backbone.watch("").await.expect("a watch");
        let mut reader = Self {
            watch,
            seen: Known::new(),
            at: 0,
            told: 0,
        };
        while !matches!(reader.read().await, Event::Current { .. }) {}
        reader
    }

    async fn read(&mut self) -> Event {
        let event = next(&mut self.watch).await;
        let at = learn(&mut self.seen, &event);
        assert!(
            self.at <= at,
            "revisions do not go down: {event:?} after {}",
            self.at
        );
        self.at = at;
        self.told += u64::from(!matches!(event, Event::Current { .. }));
        event
    }
}

/// Follows `script` on an empty backbone and panics where it and its twin, or what a watcher was
/// told, differ.
pub async fn follow(harness: &dyn Harness, script: &[Step]) -> Followed {
    let mut backbone = harness.empty().await;
    let mut twin = Twin::default();
    let mut followed = Followed::default();
    let mut reader = Reader::new(&*backbone).await;
    for step in script {
        match step {
            Step::Apply(ops) => apply(&*backbone, &mut twin, ops, &mut followed).await,
            // An event is left at least while its revision has not been told.
            Step::Read if reader.at < twin.revision => drop(reader.read().await),
            Step::Read => {}
            Step::Reopen => {
                followed.told += finish(&*backbone, &mut twin, reader).await;
                backbone = harness.reopen(backbone).await;
                assert_eq!(known(&*backbone).await, twin.entries);
                reader = Reader::new(&*backbone).await;
            }
        }
    }
    followed.told += finish(&*backbone, &mut twin, reader).await;
    followed
}

async fn apply(backbone: &dyn Backbone, twin: &mut Twin, ops: &[TwinOp], followed: &mut Followed) {
    let mut batch: Vec<Op> = Vec::new();
    for op in ops.iter().map(|op| twin.op(op)) {
        if batch.iter().all(|other| other.key != op.key) {
            batch.push(op);
        }
    }
    let wanted = twin.apply(&batch);
    let count = batch.len() as u64;
    match (backbone.apply(batch).await, wanted) {
        (Ok(revision), Some(wanted)) => {
            assert_eq!(revision, wanted);
            followed.writes += count;
        }
        (Err(WriteError::Conflict { .. }), None) => followed.refused += 1,
        (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
    }
    assert_eq!(known(backbone).await, twin.entries);
}

/// Reads until the watcher has been told a last write, and compares what it knows then.
async fn finish(backbone: &dyn Backbone, twin: &mut Twin, mut reader: Reader) -> u64 {
    let end = [Op::put("end", Bytes::from(twin.revision.to_string()))];
    let revision = twin.apply(&end).expect("no expectation");
    let applied = backbone.apply(end.to_vec()).await.expect("a write");
    assert_eq!(applied, revision);
    while reader.seen.get("end").is_none_or(|(_, at)| *at != revision) {
        reader.read().await;
    }
    // Deletes that were found by comparing come behind the puts and before the mark.
    if reader.seen != twin.entries {
        while !matches!(reader.read().await, Event::Current { .. }) {}
    }
    assert_eq!(
        reader.seen, twin.entries,
        "what the watcher knows in the end"
    );
    reader.told
}

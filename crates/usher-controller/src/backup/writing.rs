//! The writes of a restore: in batches, each entry on the condition that nobody has written it
//! since it was judged.
//!
//! ```text
//!   batch ─► judged ─► written ─► noted for those who have to be told
//!              ▲ └ refused  │
//!              └─ conflict ─┘
//! ```
//!
//! Deliberately absent: what becomes of an entry (`plan`).

use bytes::Bytes;
use usher_api::backup::{OnConflict, Restored};
use usher_api::record::FUNCTIONS_PREFIX;
use usher_backbone::{KeyValue, Op, ReadError, WriteError};

use super::plan::{Fate, Wanted, fate};
use super::restore::RestoreError;
use super::tell::Told;

/// Entries in one write at most.
const BATCH_MAX_OPS: usize = 64;
/// Their bytes together, at most, where there are several.
const BATCH_MAX_BYTES: usize = 1 << 20;

/// What becomes of an entry, and the value that is there.
pub(super) async fn judge(
    store: &dyn KeyValue,
    wanted: &Wanted,
    on_conflict: OnConflict,
) -> Result<(Fate, Option<Bytes>), ReadError> {
    let there = store.get(&wanted.key).await?;
    let known = there.as_ref().map(|entry| (entry.revision, &entry.value));
    let fate = fate(&wanted.value, known, on_conflict);
    Ok((fate, there.map(|entry| entry.value)))
}

/// Entries on their way into a store.
pub(super) struct Writing {
    on_conflict: OnConflict,
    tries: usize,
    /// What was done so far.
    pub(super) restored: Restored,
    /// Of what others have to learn.
    pub(super) told: Told,
}

impl Writing {
    /// None yet; a batch is tried so many times.
    pub(super) fn new(on_conflict: OnConflict, tries: usize) -> Self {
        Self {
            on_conflict,
            tries,
            restored: Restored::default(),
            told: Told::default(),
        }
    }

    /// Writes the entries in their order.
    pub(super) async fn all(
        &mut self,
        store: &dyn KeyValue,
        entries: &[Wanted],
    ) -> Result<(), RestoreError> {
        let mut rest = entries;
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(batch_length(rest));
            self.batch(store, batch).await?;
            rest = behind;
        }
        Ok(())
    }

    async fn batch(&mut self, store: &dyn KeyValue, batch: &[Wanted]) -> Result<(), RestoreError> {
        let tries = self.tries;
        for _ in 0..tries {
            let mut counted = self.restored.clone();
            let mut ops: Vec<Op> = Vec::new();
            let mut written = Vec::new();
            for wanted in batch {
                let (fate, before) = judge(store, wanted, self.on_conflict).await?;
                match fate {
                    Fate::Add => counted.added += 1,
                    Fate::Replace(_) => counted.replaced += 1,
                    Fate::Keep => counted.kept += 1,
                    Fate::Unchanged => counted.unchanged += 1,
                    Fate::Refuse => {
                        let key = wanted.key.clone();
                        return Err(RestoreError::Overtaken { key });
                    }
                }
                if let Some(op) = fate.op(wanted) {
                    ops.push(op);
                    written.push((wanted, before));
                }
            }
            let Some(last) = ops.last() else {
                self.restored = counted;
                return Ok(());
            };
            // Gateways follow functions, which are the last entries in any batch.
            let followed = last.key.starts_with(FUNCTIONS_PREFIX);
            match store.apply(ops).await {
                Ok(revision) => {
                    self.restored = counted;
                    for (wanted, before) in &written {
                        self.told.note(&wanted.key, before.as_ref());
                    }
                    if followed {
                        self.told.last = revision;
                    }
                    return Ok(());
                }
                Err(WriteError::Conflict { .. }) => {}
                Err(error) => return Err(RestoreError::Write(error)),
            }
        }
        Err(RestoreError::Contended { tries })
    }
}

/// How many entries are written at once: at least one.
fn batch_length(entries: &[Wanted]) -> usize {
    let mut bytes = 0;
    let fits = entries.iter().take(BATCH_MAX_OPS).take_while(|entry| {
        bytes += entry.key.len() + entry.value.len();
        bytes <= BATCH_MAX_BYTES
    });
    fits.count().max(1)
}

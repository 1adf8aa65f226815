//! What one bucket holds, and whose turn it is at a key.
//!
//! ```text
//!   not counted ──first write counts──► counted ──reserve─► written: kept
//!        ▲                                 │  └───────────► refused: given back
//!        └ unknown end, or others' writes ─┘
//! ```
//!
//! Writers of one key take turns, those of different keys do not wait for each other, so that their
//! writes share one flush of the disk. Counting waits for the writes under way.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, RwLock, RwLockReadGuard};
use usher_api::buckets::{BucketError, Held};
use usher_backbone::KeyValue;
use usher_core::bucket::{Bucket, Usage, cost, put, removed};
use usher_core::function::KeyValueGrant;

use super::{damaged, parted, unread};

/// See the module.
#[derive(Default)]
pub(super) struct Room {
    /// None: not counted yet. Held for reading by writes under way.
    usage: RwLock<Option<Mutex<Usage>>>,
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// What is to become of one key.
pub(super) struct Wish<'a> {
    pub(super) key: &'a str,
    pub(super) found: Option<Held>,
    /// None: it goes.
    pub(super) value: Option<Bytes>,
}

/// A bucket that is counted, for as long as a write is under way.
pub(super) struct Counted<'a>(RwLockReadGuard<'a, Option<Mutex<Usage>>>);

/// Room that was reserved; dropping it gives it back.
pub(super) struct Reserved<'a> {
    usage: &'a Mutex<Usage>,
    before: Usage,
    after: Usage,
    kept: bool,
}

impl Room {
    /// Waits until it is this writer's turn at all of these keys, which are sorted.
    pub(super) async fn turns(&self, keys: &[&str]) -> Vec<OwnedMutexGuard<()>> {
        let mut taken = Vec::with_capacity(keys.len());
        for key in keys {
            let turn = {
                let mut turns = self.turns.lock();
                // So many are alive at most as writes run at once.
                turns.retain(|_, turn| turn.strong_count() > 0);
                let turn = turns.get(*key).and_then(Weak::upgrade).unwrap_or_default();
                turns.insert((*key).to_owned(), Arc::downgrade(&turn));
                turn
            };
            taken.push(turn.lock_owned().await);
        }
        taken
    }

    /// What the bucket holds; counted now if it was not.
    pub(super) async fn usage(
        &self,
        store: &dyn KeyValue,
        bucket: &Bucket,
    ) -> Result<Counted<'_>, BucketError> {
        loop {
            let counted = self.usage.read().await;
            if counted.is_some() {
                return Ok(Counted(counted));
            }
            drop(counted);
            let mut usage = self.usage.write().await;
            if usage.is_none() {
                *usage = Some(Mutex::new(count(store, bucket).await?));
            }
        }
    }

    /// A write had an unknown end, or others have written: it is counted anew by the next one.
    pub(super) async fn forget(&self) {
        *self.usage.write().await = None;
    }
}

async fn count(store: &dyn KeyValue, bucket: &Bucket) -> Result<Usage, BucketError> {
    let listing = store
        .list(&format!("{}.", bucket.place()))
        .await
        .map_err(unread)?;
    let mut usage = Usage::default();
    for entry in &listing.entries {
        let (key, value) = parted(entry).ok_or_else(damaged)?;
        usage.keys += 1;
        usage.bytes = usage.bytes.saturating_add(cost(&key, value.len()));
    }
    Ok(usage)
}

impl Counted<'_> {
    /// Reserves what the wishes take; without a grant nothing may become larger, and nothing does.
    pub(super) fn reserve(
        &self,
        wishes: &[Wish<'_>],
        grant: Option<&KeyValueGrant>,
    ) -> Result<Reserved<'_>, BucketError> {
        let usage = self.0.as_ref().ok_or_else(damaged)?;
        let mut current = usage.lock();
        let before = *current;
        let mut after = before;
        for Wish { key, found, value } in wishes {
            let found = found.as_ref().map(|held| held.value.len());
            after = match (value, grant) {
                (Some(value), Some(grant)) => put(after, key, found, value.len(), grant)?,
                (None, _) => removed(after, key, found),
                (Some(_), None) => return Err(damaged()),
            };
        }
        *current = after;
        Ok(Reserved {
            usage,
            before,
            after,
            kept: false,
        })
    }
}

impl Reserved<'_> {
    /// It is written.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        // Others may have reserved since: what is taken back is the difference.
        let mut current = self.usage.lock();
        let back =
            |now: u64, before: u64, after: u64| now.saturating_add(before).saturating_sub(after);
        current.keys = back(current.keys, self.before.keys, self.after.keys);
        current.bytes = back(current.bytes, self.before.bytes, self.after.bytes);
    }
}

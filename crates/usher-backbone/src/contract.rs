//! The suite that every backbone must pass: what its callers rely on, said as checks.
//!
//! A check takes a [`Harness`], makes what it needs, and panics where a promise is broken. The
//! checks of [`twin`] follow a script of random steps beside a plain map.
//!
//! Deliberately absent: crashes and full disks, which every implementer has in its own way.

pub mod blobs;
pub mod key_value;
pub mod twin;
pub mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;

use crate::{Backbone, Event, Watch};

/// How the suite gets backbones, and what their bounds are.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A backbone with nothing in it.
    async fn empty(&self) -> Arc<dyn Backbone>;

    /// Closes `backbone`, of which there is no other handle, and opens what it held.
    async fn reopen(&self, backbone: Arc<dyn Backbone>) -> Arc<dyn Backbone>;

    /// Largest value it takes.
    fn value_max_bytes(&self) -> usize;

    /// Most ops it takes in a batch.
    fn batch_max_ops(&self) -> usize;

    /// Largest blob it takes.
    fn blob_max_bytes(&self) -> usize;
}

/// Runs every check that needs no script.
pub async fn all(harness: &dyn Harness) {
    key_value::all(harness).await;
    watch::all(harness).await;
    blobs::all(harness).await;
}

/// Keys with value and revision, as a reader would write them down.
pub type Known = BTreeMap<String, (Bytes, u64)>;

/// All entries of `backbone`.
pub async fn known(backbone: &dyn Backbone) -> Known {
    let listing = backbone.list("").await.expect("a listing");
    let entries = listing.entries.into_iter();
    entries
        .map(|entry| (entry.key.to_string(), (entry.value, entry.revision)))
        .collect()
}

/// Writes an event down as a watcher would; its revision is returned.
pub fn learn(known: &mut Known, event: &Event) -> u64 {
    match event {
        Event::Put(entry) => {
            known.insert(entry.key.to_string(), (entry.value.clone(), entry.revision));
            entry.revision
        }
        Event::Delete { key, revision } => {
            known.remove(&**key);
            *revision
        }
        Event::Current { revision } => *revision,
    }
}

/// The next event, which must come.
pub async fn next(watch: &mut Watch) -> Event {
    watch.next().await.expect("the watch goes on")
}

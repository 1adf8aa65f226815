//! Giving up images that nobody uses, so that a node can have many more functions than it has room
//! for: what is left of one is its record here, and its code on disk.
//!
//! A request that comes at that very moment is served from what is given up, or loads it again.
//! Deliberately absent: which ones (`usher_core::keep::images`).

use std::sync::Arc;

use usher_core::keep::images::{Loaded, give_up};
use usher_engine::Engine;

use crate::entry::Entry;
use crate::node::Shop;
use crate::pool::Pool;

/// An entry whose image is loaded.
type Pooled<E> = (Arc<Entry<E>>, Arc<Pool<E>>);

impl<E: Engine> Shop<E> {
    /// Carries out what is to be given up now. To be called once a round.
    pub(crate) fn rest(&self) {
        let loaded: Vec<Pooled<E>> = {
            let entries = self.entries.read();
            let pools = entries.values();
            let pools = pools.filter_map(|entry| Some((entry.clone(), entry.pool()?)));
            pools.collect()
        };
        let images: Vec<_> = loaded
            .iter()
            .map(|(_, pool)| self.looked_at(pool))
            .collect();
        for place in give_up(&images, self.options.images_max.get()) {
            let (entry, _) = &loaded[place];
            let unused = |pool: &Pool<E>| pool.unused_ms().is_some();
            if let Some(pool) = entry.sleep(&self.engine, unused) {
                self.leave(&pool);
            }
        }
    }

    fn looked_at(&self, pool: &Pool<E>) -> Loaded {
        let keep = &pool.revision.settings.keep;
        Loaded {
            unused_ms: pool.unused_ms(),
            unused_max_ms: keep.idle_max_s.saturating_mul(1_000),
            quick: self.engine.reloads_fast(&pool.image),
        }
    }
}

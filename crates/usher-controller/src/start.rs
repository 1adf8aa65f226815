//! What a controller does by itself: at its start it makes ready what shall always be ready, and
//! from time to time it collects artifacts.
//!
//! Deliberately absent: compiling everything at the start. A function without `keep.ready_min` is
//! made ready by its first request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use usher_api::node::NodeControl;
use usher_backbone::Backbone;
use usher_core::function::Revision;

use crate::controller::{Controller, Core, Follower, Options};
use crate::records::{self, RecordError};

impl Controller {
    /// Starts a controller on what the backbone holds. Must be called within a tokio runtime.
    ///
    /// Records that cannot be read are told in the log and left alone.
    pub async fn start(
        backbone: Arc<dyn Backbone>,
        node: Arc<dyn NodeControl>,
        followers: Vec<Follower>,
        options: Options,
    ) -> Result<Self, RecordError> {
        let core = Core::new(backbone, node, followers, options);
        let mut always_ready = Vec::new();
        for kept in records::all(&*core.backbone).await? {
            match kept {
                Ok(kept) => {
                    let named = kept.record.in_service().into_iter();
                    let always = named.filter(|revision| revision.settings.keep.ready_min > 0);
                    always_ready.extend(always.cloned());
                }
                Err(error) => tracing::error!(error = &error as &dyn std::error::Error),
            }
        }
        let tasks = vec![
            tokio::spawn(make_ready(Arc::clone(&core), always_ready)),
            tokio::spawn(collect(Arc::clone(&core))),
        ];
        Ok(Self { core, tasks })
    }
}

/// One after the other, so that a start does not take all processors from the first requests.
async fn make_ready(core: Arc<Core>, revisions: Vec<Revision>) {
    for revision in revisions {
        // A deployment or deletion may have come first, and its revision must not be brought back.
        let _turn = core.turn(&revision.function).await;
        match records::get(&*core.backbone, &revision.function).await {
            Ok(Some(kept)) if kept.record.serves(revision.id) => {}
            _ => continue,
        }
        let function = revision.function.clone();
        let (progress, _) = mpsc::channel(1);
        if let Err(fault) = core.node.prepare(Arc::new(revision), progress).await {
            tracing::error!(%function, %fault, "not ready after the start");
        }
    }
}

async fn collect(core: Arc<Core>) {
    let every = Duration::from_secs(core.options.collect_every_s.max(1));
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        match core.collect().await {
            Ok(Some(removed)) if removed > 0 => tracing::info!(removed, "artifacts collected"),
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "artifacts were not collected"),
        }
    }
}

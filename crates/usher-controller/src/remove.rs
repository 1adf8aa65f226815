//! Deleting a function: the record goes, everybody learns of it, the node lets go.
//!
//! Deliberately absent: the artifact, which is collected when no record names it any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use usher_api::http::Deleted;
use usher_api::record::function_key;
use usher_backbone::WriteError;
use usher_core::id::FunctionKey;

use crate::controller::{Controller, Core};
use crate::records::{self, RecordError};

/// Why a function was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// So many changes run already.
    #[error("{changes_max} changes run already; try again in a moment")]
    Busy {
        /// The bound.
        changes_max: usize,
    },
    /// The record could not be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record could not be removed.
    #[error("the record of {function} could not be removed")]
    Write {
        /// The function.
        function: FunctionKey,
        /// Why.
        #[source]
        source: WriteError,
    },
    /// Others changed the function each time in between.
    #[error("{function} was changed by others {tries} times in a row; try again")]
    Contended {
        /// The function.
        function: FunctionKey,
        /// How often it was tried.
        tries: usize,
    },
    /// It is deleted, and not yet known to every gateway.
    #[error("{function} is deleted, but a gateway did not learn of it within {wait_max_ms} ms")]
    NotFollowed {
        /// The function.
        function: FunctionKey,
        /// The bound.
        wait_max_ms: u64,
    },
    /// The task that did it has ended early: the platform stops, or has a fault.
    #[error("the deletion of {function} was cut off; `usher show` tells whether it was done")]
    CutOff {
        /// The function.
        function: FunctionKey,
    },
}

impl Controller {
    /// Deletes a function; none: there is no such function. Returns when that is on disk, every
    /// follower knows of it, and no new request begins on it; requests that run are finished.
    ///
    /// Dropping the future does not stop a deletion that has begun.
    pub async fn remove(&self, function: FunctionKey) -> Result<Option<Deleted>, RemoveError> {
        let core = Arc::clone(&self.core);
        let changes_max = core.options.changes_max;
        let permit = Arc::clone(&core.changes)
            .try_acquire_owned()
            .map_err(|_| RemoveError::Busy { changes_max })?;
        let of = function.clone();
        let task = tokio::spawn(async move {
            let _permit = permit;
            core.remove(of).await
        });
        let cut_off = |_| Err(RemoveError::CutOff { function });
        task.await.unwrap_or_else(cut_off)
    }
}

impl Core {
    async fn remove(
        self: &Arc<Self>,
        function: FunctionKey,
    ) -> Result<Option<Deleted>, RemoveError> {
        let _turn = self.turn(&function).await;
        let key = function_key(&function);
        let tries = self.options.tries_max;
        for _ in 0..tries {
            let Some(kept) = records::get(&*self.backbone, &function).await? else {
                return Ok(None);
            };
            let served = kept.record.current.id;
            let leaves = kept.record.in_service().into_iter();
            let leaves: BTreeSet<_> = leaves.map(|revision| revision.id).collect();
            let revision = match self.backbone.delete(&key, Some(kept.revision)).await {
                Err(WriteError::Conflict { .. }) => continue,
                Err(source) => return Err(RemoveError::Write { function, source }),
                Ok(revision) => revision,
            };
            if !self.followed(revision).await {
                let wait_max_ms = self.options.follow_wait_max_ms;
                let leaves = leaves.into_iter().collect();
                self.retire_when_followed(function.clone(), leaves, revision);
                return Err(RemoveError::NotFollowed {
                    function,
                    wait_max_ms,
                });
            }
            for revision in leaves {
                self.retire(revision).await;
            }
            tracing::info!(%function, revision = served.0.short(), "deleted");
            return Ok(Some(Deleted {
                owner: function.owner,
                name: function.name,
                revision: served,
            }));
        }
        Err(RemoveError::Contended { function, tries })
    }
}

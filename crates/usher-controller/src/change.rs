//! Changing a function: all of it or nothing.
//!
//! ```text
//!   plan ──► prepare images ──► start ahead ──► write record ──► followers know ──► retire
//!    ▲  └ refused  └ fails: refused              │    └ late: said so
//!    └──────────── conflict: read again ─────────┘
//! ```
//!
//! Until the record is written nothing has changed, whatever failed; from then on the next request
//! meets what it says. What is asked for by nobody any more is retired after that, and finishes the
//! requests that it has. A change that has begun is finished even where its caller goes away.
//!
//! Deliberately absent: what a change makes of the record (`plan`).

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use usher_api::node::Progress;
use usher_api::record::FunctionRecord;
use usher_backbone::WriteError;
use usher_core::id::{FunctionKey, RevisionId};

use crate::DeployError;
use crate::controller::{Controller, Core, now_us};
use crate::plan::{Change, Plan, Step, ahead, plan};
use crate::records::{self, Kept};

/// What a change came to.
pub(crate) struct Outcome {
    pub(crate) record: FunctionRecord,
    pub(crate) step: Step,
}

impl Controller {
    /// Carries a change out. Returns when it is on disk and every follower knows of it.
    pub(crate) async fn change(
        &self,
        function: FunctionKey,
        change: Change,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Outcome, DeployError> {
        let core = Arc::clone(&self.core);
        let changes_max = core.options.changes_max;
        let permit = Arc::clone(&core.changes)
            .try_acquire_owned()
            .map_err(|_| DeployError::Busy { changes_max })?;
        let of = function.clone();
        let task = tokio::spawn(async move {
            let _permit = permit;
            core.change(of, change, progress).await
        });
        let cut_off = |_| Err(DeployError::CutOff { function });
        task.await.unwrap_or_else(cut_off)
    }
}

impl Core {
    async fn change(
        self: &Arc<Self>,
        function: FunctionKey,
        change: Change,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Outcome, DeployError> {
        let _turn = self.turn(&function).await;
        let _artifacts = self.artifacts.read().await;
        self.has_artifact(&change).await?;
        // Held until the record is written, so that two new functions do not both find room.
        let _place = match change {
            Change::Deploy { .. } => self.place_for(&function).await?,
            _ => None,
        };
        let mut prepared = BTreeSet::new();
        for _ in 0..self.options.tries_max {
            let tried = self.attempt(&function, &change, &progress, &mut prepared);
            match tried.await {
                Ok(Some(outcome)) => return Ok(outcome),
                Ok(None) => {}
                Err(error) => {
                    self.retire_unless_named(&function, prepared).await;
                    return Err(error);
                }
            }
        }
        self.retire_unless_named(&function, prepared).await;
        let tries = self.options.tries_max;
        Err(DeployError::Contended { function, tries })
    }

    async fn has_artifact(&self, change: &Change) -> Result<(), DeployError> {
        let Change::Deploy { wanted, .. } = change else {
            return Ok(());
        };
        let artifact = wanted.artifact;
        match self.backbone.has_blob(&artifact).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(DeployError::NoArtifact { artifact }),
            Err(error) => Err(DeployError::Artifacts(error)),
        }
    }

    /// Once from the record to the record; none: somebody else has changed it meanwhile.
    async fn attempt(
        self: &Arc<Self>,
        function: &FunctionKey,
        change: &Change,
        progress: &mpsc::Sender<Progress>,
        prepared: &mut BTreeSet<RevisionId>,
    ) -> Result<Option<Outcome>, DeployError> {
        let kept = records::get(&*self.backbone, function).await?;
        let plan = plan(function, change, kept.as_ref(), now_us())?;
        for revision in &plan.prepare {
            if prepared.insert(revision.id) {
                let revision = Arc::new(revision.clone());
                let report = self.node.prepare(revision, progress.clone()).await;
                report.map_err(DeployError::Prepare)?;
            }
        }
        if let (Step::Change { .. }, Some(kept)) = (plan.step, &kept) {
            self.start_ahead(&kept.record, &plan.record).await;
        }
        let written = match plan.step {
            Step::Create => records::write(&*self.backbone, &plan.record, None).await,
            Step::Change { last } => {
                records::write(&*self.backbone, &plan.record, Some(last)).await
            }
            Step::Keep { since } => Ok(since),
        };
        match written {
            Err(WriteError::Conflict { .. }) => Ok(None),
            Ok(revision) => self.acknowledge(plan, revision).await.map(Some),
            Err(source) => {
                let function = function.clone();
                Err(DeployError::Write { function, source })
            }
        }
    }

    /// Has environments started where traffic is to move, as many as it is served by now.
    async fn start_ahead(&self, old: &FunctionRecord, new: &FunctionRecord) {
        let environments = |id| {
            let status = self.node.status(id);
            let used = status.clean.saturating_add(status.busy);
            used.saturating_add(status.renewing)
        };
        let ahead = ahead(old, new, environments, self.options.ahead_max);
        for (revision, environments) in ahead {
            self.node.start_ahead(revision, environments).await;
        }
    }

    /// The record is on disk: waits until everybody knows, and takes out of service what nobody can
    /// ask for any more.
    async fn acknowledge(
        self: &Arc<Self>,
        plan: Plan,
        revision: u64,
    ) -> Result<Outcome, DeployError> {
        let Plan {
            record,
            step,
            leaves,
            ..
        } = plan;
        if !self.followed(revision).await {
            self.retire_when_followed(record.key.clone(), leaves, revision);
            return Err(DeployError::NotFollowed {
                function: record.key,
                wait_max_ms: self.options.follow_wait_max_ms,
            });
        }
        for revision in leaves {
            self.retire(revision).await;
        }
        tracing::info!(
            function = %record.key,
            number = record.current.number,
            revision = record.current.id.0.short(),
            ?step,
            "changed"
        );
        Ok(Outcome { record, step })
    }

    /// Takes revisions out of service that nothing names; the caller has the function's turn. Where
    /// that cannot be found out they stay.
    pub(crate) async fn retire_unless_named(
        self: &Arc<Self>,
        function: &FunctionKey,
        revisions: impl IntoIterator<Item = RevisionId>,
    ) {
        let kept = records::get(&*self.backbone, function).await;
        let serves = |kept: &Option<Kept>, id| {
            let record = kept.as_ref().map(|kept| &kept.record);
            record.is_some_and(|record| record.serves(id))
        };
        match kept {
            Ok(kept) => {
                for id in revisions {
                    if !serves(&kept, id) {
                        self.retire(id).await;
                    }
                }
            }
            Err(error) => tracing::warn!(%function, %error, "revisions stay in service"),
        }
    }

    /// Takes revisions out of service as soon as every follower has come as far as `since`, behind
    /// the caller.
    pub(crate) fn retire_when_followed(
        self: &Arc<Self>,
        function: FunctionKey,
        revisions: Vec<RevisionId>,
        since: u64,
    ) {
        if revisions.is_empty() {
            return;
        }
        let core = Arc::clone(self);
        tokio::spawn(async move {
            for mut follower in core.followers.clone() {
                // One that has gone sends no more requests to the old revision either.
                let _ = follower.wait_for(|applied| *applied >= since).await;
            }
            let _turn = core.turn(&function).await;
            core.retire_unless_named(&function, revisions).await;
        });
    }
}

//! Deploying a function: all of it or nothing.
//!
//! ```text
//!   artifact there? ──► prepare image ──► write record ──► followers know ──► retire the old one
//!        └ no: refused      └ fails: refused    └ conflict: read again └ late: said so
//! ```
//!
//! Until the record is written nothing has changed, whatever failed; from then on the new revision
//! serves. A deployment that has begun is finished even where its caller goes away.
//!
//! Deliberately absent: how an image is made (`usher-node`), what the record says (`plan`).

use std::io;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::{OwnedMutexGuard, mpsc};
use usher_api::http::{DeployRequest, Deployed};
use usher_api::node::{PrepareFault, Progress};
use usher_api::record::FunctionRecord;
use usher_backbone::WriteError;
use usher_core::function::Revision;
use usher_core::id::{Digest, FunctionKey, Name, RevisionId};

use crate::controller::{Controller, Core, now_us};
use crate::owners;
use crate::plan::{Plan, Step, Wanted, plan};
use crate::records::{self, RecordError};

/// Why a function was not deployed. What served before still serves, unless a variant says
/// otherwise.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// So many changes run already.
    #[error("{changes_max} deployments and deletions run already; try again in a moment")]
    Busy {
        /// The bound.
        changes_max: usize,
    },
    /// The artifact is not stored.
    #[error("there is no artifact {artifact}; store it with POST /v1/artifacts first")]
    NoArtifact {
        /// What was asked for.
        artifact: Digest,
    },
    /// Whether the artifact is stored could not be found out.
    #[error("the artifacts could not be read")]
    Artifacts(#[source] io::Error),
    /// Its owner has as many functions as it may have.
    #[error(
        "owner {owner} has {functions} functions, and its quota functions_max is {functions_max}; \
         delete one, or have the quota raised with `usher owner set`"
    )]
    OwnerFull {
        /// Who.
        owner: Name,
        /// How many there are.
        functions: usize,
        /// The bound.
        functions_max: u32,
    },
    /// Its image could not be made ready.
    #[error("{0}")]
    Prepare(PrepareFault),
    /// The record could not be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record could not be written.
    #[error("the record of {function} could not be written")]
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
    /// It is stored, and not yet known to every gateway.
    #[error(
        "{function} is stored, but a gateway did not learn of it within {wait_max_ms} ms; \
         deploy it again to wait for longer"
    )]
    NotFollowed {
        /// The function.
        function: FunctionKey,
        /// The bound.
        wait_max_ms: u64,
    },
    /// The task that did it has ended early: the platform stops, or has a fault.
    #[error("the deployment of {function} was cut off; `usher show` tells whether it was done")]
    CutOff {
        /// The function.
        function: FunctionKey,
    },
}

impl Controller {
    /// Deploys a function. Returns when its record is on disk and every follower knows of it.
    ///
    /// The same content again is not a change: its image is prepared anew, which puts a revision
    /// back to live renewal whose audit had failed, and the record stays as it is. Dropping the
    /// future does not stop a deployment that has begun.
    pub async fn deploy(
        &self,
        request: DeployRequest,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Deployed, DeployError> {
        let core = Arc::clone(&self.core);
        let changes_max = core.options.changes_max;
        let permit = Arc::clone(&core.changes)
            .try_acquire_owned()
            .map_err(|_| DeployError::Busy { changes_max })?;
        let function = request.function();
        let wanted = wanted(request);
        let task = tokio::spawn(async move {
            let _permit = permit;
            core.deploy(wanted, progress).await
        });
        let cut_off = |_| Err(DeployError::CutOff { function });
        task.await.unwrap_or_else(cut_off)
    }
}

fn wanted(request: DeployRequest) -> Wanted {
    let function = request.function();
    let identity = Revision::identity(&function, &request.artifact, &request.settings);
    let id = RevisionId(Digest(Sha256::digest(identity).into()));
    Wanted {
        function,
        artifact: request.artifact,
        settings: request.settings,
        id,
    }
}

impl Core {
    async fn deploy(
        self: &Arc<Self>,
        wanted: Wanted,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Deployed, DeployError> {
        let _turn = self.turn(&wanted.function).await;
        let _artifacts = self.artifacts.read().await;
        let artifact = wanted.artifact;
        match self.backbone.has_blob(&artifact).await {
            Ok(true) => {}
            Ok(false) => return Err(DeployError::NoArtifact { artifact }),
            Err(error) => return Err(DeployError::Artifacts(error)),
        }
        // Held until the record is written, so that two new functions do not both find room.
        let _places = self.place_for(&wanted.function).await?;
        let mut prepared = false;
        for _ in 0..self.options.tries_max {
            let kept = records::get(&*self.backbone, &wanted.function).await?;
            let Plan { record, step } = plan(&wanted, kept, now_us());
            if !prepared {
                let revision = Arc::new(record.current.clone());
                let report = self.node.prepare(revision, progress.clone()).await;
                report.map_err(DeployError::Prepare)?;
                prepared = true;
            }
            let written = match step {
                Step::Create => records::write(&*self.backbone, &record, None).await,
                Step::Change { last, .. } => {
                    records::write(&*self.backbone, &record, Some(last)).await
                }
                Step::Keep { since } => Ok(since),
            };
            match written {
                Err(WriteError::Conflict { .. }) => {}
                Ok(revision) => return self.acknowledge(record, step, revision).await,
                Err(source) => {
                    let function = wanted.function;
                    self.retire_unless_current(&function, wanted.id).await;
                    return Err(DeployError::Write { function, source });
                }
            }
        }
        let function = wanted.function;
        self.retire_unless_current(&function, wanted.id).await;
        let tries = self.options.tries_max;
        Err(DeployError::Contended { function, tries })
    }

    /// A place among the functions of the owner, where their number is bounded and this one is new.
    async fn place_for(
        self: &Arc<Self>,
        function: &FunctionKey,
    ) -> Result<Option<OwnedMutexGuard<()>>, DeployError> {
        let (backbone, owner) = (&*self.backbone, &function.owner);
        let quotas = owners::quotas(backbone, owner).await;
        let Some(functions_max) = quotas.map_err(RecordError::from)?.functions_max else {
            return Ok(None);
        };
        let turn = self.owner_turn(owner).await;
        if records::get(backbone, function).await?.is_some() {
            return Ok(None);
        }
        let functions = owners::functions(backbone, owner).await;
        let functions = functions.map_err(RecordError::from)?;
        match functions < functions_max as usize {
            true => Ok(Some(turn)),
            false => Err(DeployError::OwnerFull {
                owner: owner.clone(),
                functions,
                functions_max,
            }),
        }
    }

    /// The record is on disk: waits until everybody knows, and takes the old revision out of
    /// service.
    async fn acknowledge(
        self: &Arc<Self>,
        record: FunctionRecord,
        step: Step,
        revision: u64,
    ) -> Result<Deployed, DeployError> {
        let replaced = match step {
            Step::Change { replaced, .. } => Some(replaced),
            Step::Create | Step::Keep { .. } => None,
        };
        if !self.followed(revision).await {
            if let Some(replaced) = replaced {
                self.retire_when_followed(record.key.clone(), replaced, revision);
            }
            return Err(DeployError::NotFollowed {
                function: record.key,
                wait_max_ms: self.options.follow_wait_max_ms,
            });
        }
        if let Some(replaced) = replaced {
            self.retire(replaced).await;
        }
        tracing::info!(
            function = %record.key,
            number = record.current.number,
            revision = record.current.id.0.short(),
            ?step,
            "deployed"
        );
        Ok(Deployed {
            created: step == Step::Create,
            unchanged: matches!(step, Step::Keep { .. }),
            function: self.view(&record),
        })
    }
}

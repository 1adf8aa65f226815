//! Deploying a function: all of it or nothing.
//!
//! A deployment is a change like others (`change`) whose artifact must be stored. It gives the new
//! revision all traffic of the bare name, or makes it ready without any.
//!
//! Deliberately absent: how an image is made (`usher-node`), what the record says (`plan`).

use std::io;

use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use usher_api::http::{DeployRequest, Deployed};
use usher_api::node::{PrepareFault, Progress};
use usher_backbone::WriteError;
use usher_core::function::Revision;
use usher_core::id::{Digest, FunctionKey, Name, RevisionId};

use crate::change::Outcome;
use crate::controller::Controller;
use crate::plan::{Change, Refusal, Step, Wanted};
use crate::records::RecordError;

/// Why a function was not deployed, or its traffic not changed. What served before still serves,
/// unless a variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// So many changes run already.
    #[error("{changes_max} changes run already; try again in a moment")]
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
    /// The function cannot be changed like that.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An image could not be made ready.
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
         do the same again to wait for longer"
    )]
    NotFollowed {
        /// The function.
        function: FunctionKey,
        /// The bound.
        wait_max_ms: u64,
    },
    /// The task that did it has ended early: the platform stops, or has a fault.
    #[error("the change of {function} was cut off; `usher show` tells whether it was done")]
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
        self.deploy_with(request, true, progress).await
    }

    /// The same; without `traffic` the new revision is made ready, and what serves goes on serving.
    pub async fn deploy_with(
        &self,
        request: DeployRequest,
        traffic: bool,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Deployed, DeployError> {
        let function = request.function();
        let wanted = wanted(request);
        let id = wanted.id;
        let change = Change::Deploy { wanted, traffic };
        let Outcome { step, record } = self.change(function, change, progress).await?;
        let known = record.known().into_iter();
        let number = known
            .filter(|(_, known)| *known == id)
            .map(|(number, _)| number)
            .next()
            .unwrap_or(0);
        Ok(Deployed {
            created: step == Step::Create,
            unchanged: matches!(step, Step::Keep { .. }),
            number,
            staged: record.staged == Some(number),
            function: self.core.view(&record),
        })
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

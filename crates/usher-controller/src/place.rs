//! A place for a new function among those that its owner may have.
//!
//! Deliberately absent: the quotas themselves (`owners`).

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use usher_core::id::FunctionKey;

use crate::DeployError;
use crate::controller::Core;
use crate::owners;
use crate::records::{self, RecordError};

impl Core {
    /// A place among the functions of the owner, where their number is bounded and this one is new.
    pub(crate) async fn place_for(
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
}

//! Who has to be told of what a restore has written: the same as of an ordinary change.
//!
//! ```text
//!   a secret ─► the node: no request begins any more with what it was before
//!   a function that was another ─► gateways know ─► its revisions that nothing names are retired
//! ```
//!
//! Deliberately absent: making restored revisions ready, which their first request does, as after a
//! start of the platform.

use std::sync::Arc;

use bytes::Bytes;
use usher_api::record::{FUNCTIONS_PREFIX, FunctionRecord};
use usher_core::id::{FunctionKey, Name, RevisionId};

use crate::controller::Core;
use crate::secrets;

/// What was written, as far as it concerns others.
#[derive(Debug, Default)]
pub(super) struct Told {
    secrets: Vec<(Name, Name)>,
    /// What functions had in service before they were replaced.
    left: Vec<(FunctionKey, Vec<RevisionId>)>,
    /// The store's revision of the last function that was written; 0: none was.
    pub(super) last: u64,
}

impl Told {
    /// An entry was written, over this one where one was there.
    pub(super) fn note(&mut self, key: &str, before: Option<&Bytes>) {
        self.secrets.extend(secrets::named(key));
        // Nothing is in service of what cannot be read.
        let before = before.filter(|_| key.starts_with(FUNCTIONS_PREFIX));
        let before = before.and_then(|old| serde_json::from_slice::<FunctionRecord>(old).ok());
        if let Some(old) = before {
            let served = old.in_service().into_iter().map(|revision| revision.id);
            self.left.push((old.key.clone(), served.collect()));
        }
    }
}

impl Core {
    /// Tells of it; says whether every gateway has learnt of it in time. The caller holds no
    /// function's turn, and keeps no artifacts.
    pub(super) async fn tell(self: &Arc<Self>, told: Told) -> bool {
        for (owner, name) in &told.secrets {
            self.node.secret_changed(owner, name).await;
        }
        let followed = self.followed(told.last).await;
        for (function, left) in told.left {
            match followed {
                true => {
                    let _turn = self.turn(&function).await;
                    self.retire_unless_named(&function, left).await;
                }
                false => self.retire_when_followed(function, left, told.last),
            }
        }
        followed
    }
}

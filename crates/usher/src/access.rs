//! The keys and quotas of one process: tables that the gateway and the node share.
//!
//! Deliberately absent: the API, which reads them itself, so that no call meets a key that was
//! taken back.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinHandle;
use usher_api::access::{KEYS_PREFIX, OWNERS_PREFIX};
use usher_api::client::Client;
use usher_backbone::{Embedded, KeyValue, Watched};
use usher_controller::AuditOptions;
use usher_controller::api::ApiOptions;
use usher_core::api_key::{KeyRecord, Secret};
use usher_core::owner::OwnerRecord;
use usher_gateway::Rules;

/// See the module.
pub(crate) struct Access {
    /// All keys.
    pub(crate) keys: Arc<Watched<KeyRecord>>,
    /// All owners that have quotas.
    pub(crate) owners: Arc<Watched<OwnerRecord>>,
    /// By which the platform asks its own API.
    own_key: Secret,
    following: [JoinHandle<()>; 2],
}

impl Access {
    /// Lets both tables follow the backbone; on return they know all that there is.
    pub(crate) async fn follow(backbone: &Arc<Embedded>) -> anyhow::Result<Self> {
        let keys = Arc::new(Watched::new(KEYS_PREFIX));
        let owners = Arc::new(Watched::new(OWNERS_PREFIX));
        let following = [
            tokio::spawn({
                let (table, store) = (Arc::clone(&keys), Arc::clone(backbone));
                async move {
                    if let Err(error) = table.follow(&*store).await {
                        tracing::error!(%error, "the gateway does not learn of keys");
                    }
                }
            }),
            tokio::spawn({
                let (table, store) = (Arc::clone(&owners), Arc::clone(backbone));
                async move {
                    if let Err(error) = table.follow(&*store).await {
                        tracing::error!(%error, "nobody learns of quotas");
                    }
                }
            }),
        ];
        let known = backbone.list(KEYS_PREFIX).await?.revision;
        for mut applied in [keys.applied(), owners.applied()] {
            applied.wait_for(|applied| *applied >= known).await?;
        }
        Ok(Self {
            keys,
            owners,
            own_key: usher_controller::keys::draw()?,
            following,
        })
    }

    /// What the gateway holds requests to.
    pub(crate) fn rules(&self) -> Rules {
        Rules::new(Arc::clone(&self.keys), Arc::clone(&self.owners))
    }

    /// How the API listens, who learns of changes of keys and quotas, and where its calls are
    /// logged.
    pub(crate) fn api_options(&self, listen: SocketAddr, data: &Path) -> ApiOptions {
        ApiOptions {
            own_key: Some(self.own_key.clone()),
            key_followers: vec![self.keys.applied()],
            owner_followers: vec![self.owners.applied()],
            audit: AuditOptions {
                folder: Some(data.join("audit")),
                ..AuditOptions::default()
            },
            ..ApiOptions::new(listen)
        }
    }

    /// A client that asks for the platform itself.
    pub(crate) fn client(&self, api: SocketAddr) -> anyhow::Result<Client> {
        Ok(Client::new(&api.to_string())?.with_key(&self.own_key))
    }

    /// Ends the following.
    pub(crate) async fn stop(self) {
        for following in self.following {
            following.abort();
            // Its end is all that is waited for.
            let _ = following.await;
        }
    }
}

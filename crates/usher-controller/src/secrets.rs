//! Secrets: sealed in the backbone, opened for engines, shown only as present.
//!
//! ```text
//!   set ─► sealed (key, owner, name) ─► record `secrets.OWNER.NAME` ─► nodes give up old images
//!   engine ─► record ─► opened ─► Secret, in memory
//! ```
//!
//! Deliberately absent: what a function may have (its manifest), and the API.

mod key;
mod seal;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use usher_api::invoke::BoxFuture;
use usher_api::secret::{NoSecret, SecretDeleted, SecretSource, SecretView};
use usher_backbone::{Backbone, Entry, ReadError, WriteError};
use usher_core::id::Name;
use usher_core::secret::{SECRET_MAX_BYTES, Secret};

use crate::controller::{Controller, Core, now_us};
use crate::records::{self, RecordError};

pub use key::{KEY_FILE, KeyError, SealKey};
use seal::Sealed;

/// All secrets stand under this prefix.
const PREFIX: &str = "secrets.";
/// How many secrets one owner may have.
pub const SECRETS_MAX: usize = 1_000;

/// A secret as the backbone keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    owner: Name,
    name: Name,
    version: u64,
    set_us: u64,
    sealed: Sealed,
}

/// Opens secrets and seals them. Whoever has it has their values.
pub struct Vault {
    backbone: Arc<dyn Backbone>,
    key: SealKey,
}

/// Why a secret was not set or deleted.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// This platform keeps none.
    #[error("this platform keeps no secrets")]
    NoVault,
    /// There is none.
    #[error(
        "there is no secret {name} of owner {owner}; `usher secret list` shows those there are"
    )]
    Missing {
        /// Whose.
        owner: Name,
        /// Which.
        name: Name,
    },
    /// Functions are granted it.
    #[error(
        "the secret {name} is used by {}; change or delete them first",
        listed(used_by)
    )]
    Used {
        /// Which.
        name: Name,
        /// By whom.
        used_by: Vec<Name>,
    },
    /// The value is empty or too long.
    #[error("a secret has 1 to {SECRET_MAX_BYTES} bytes, and this one has {bytes}")]
    Length {
        /// How many it has, as far as was read.
        bytes: usize,
    },
    /// The owner has too many.
    #[error("owner {owner} has {SECRETS_MAX} secrets, which is the most")]
    TooMany {
        /// Whose.
        owner: Name,
    },
    /// It could not be sealed.
    #[error("the secret could not be sealed: the machine gives no random numbers")]
    Seal,
    /// It could not be read.
    #[error("the secrets could not be read")]
    Read(#[from] ReadError),
    /// The records of functions could not be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It could not be written.
    #[error("the secret {name} could not be written")]
    Write {
        /// Which.
        name: Name,
        /// Why.
        #[source]
        source: WriteError,
    },
}

/// Why a secret of a back-up cannot be kept here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAdopted {
    #[error("it cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the key that came along is none")]
    NotAKey,
    #[error("{0}")]
    NotOpened(String),
    #[error("it could not be sealed: the machine gives no random numbers")]
    NotSealed,
    #[error("{0}")]
    Read(#[from] ReadError),
}

fn listed(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(Name::as_str).collect();
    names.join(", ")
}

impl Vault {
    /// A vault whose records are sealed by `key`.
    pub fn new(backbone: Arc<dyn Backbone>, key: SealKey) -> Arc<Self> {
        Arc::new(Self { backbone, key })
    }

    /// How many secrets there are that this key does not open.
    pub async fn unreadable(&self) -> Result<usize, ReadError> {
        let entries = self.backbone.list(PREFIX).await?.entries;
        let records = entries.iter().map(read);
        let unreadable = records.filter(|record| match record {
            Ok(record) => record.sealed.key != self.key.id(),
            Err(_) => true,
        });
        Ok(unreadable.count())
    }

    async fn record(&self, owner: &Name, name: &Name) -> Result<Option<(Record, u64)>, NoSecret> {
        let unavailable = |reason: String| NoSecret::Unavailable {
            owner: owner.clone(),
            name: name.clone(),
            reason,
        };
        let entry = self.backbone.get(&place(owner, name)).await;
        let entry = entry.map_err(|error| unavailable(error.to_string()))?;
        let Some(entry) = entry else { return Ok(None) };
        let record = read(&entry).map_err(|error| unavailable(error.to_string()))?;
        Ok(Some((record, entry.revision)))
    }

    async fn open(&self, owner: &Name, name: &Name) -> Result<Secret, NoSecret> {
        let (owner, name) = (owner.clone(), name.clone());
        let Some((record, _)) = self.record(&owner, &name).await? else {
            return Err(NoSecret::Missing { owner, name });
        };
        // By the names that were asked for, so that a record which was moved does not open.
        let opened = self.key.open(&owner, &name, &record.sealed);
        opened.map_err(|reason| NoSecret::Unreadable {
            owner,
            name,
            reason: reason.to_string(),
        })
    }

    /// The value of an entry of a back-up as this platform keeps it, sealed by its own key, given
    /// the file of the key by which it was sealed. The entry that is there is answered where it
    /// opens to the same. None: it is no secret.
    pub(crate) async fn adopted(
        &self,
        key: &str,
        value: &[u8],
        carried: &[u8],
    ) -> Result<Option<Bytes>, NotAdopted> {
        if !key.starts_with(PREFIX) {
            return Ok(None);
        }
        let mut record: Record = serde_json::from_slice(value)?;
        if record.sealed.key == self.key.id() {
            return Ok(None);
        }
        let carried = SealKey::of_file(carried).ok_or(NotAdopted::NotAKey)?;
        let (owner, name) = (&record.owner, &record.name);
        let opened = carried.open(owner, name, &record.sealed);
        let secret = opened.map_err(|why| NotAdopted::NotOpened(why.to_string()))?;
        let there = self.backbone.get(&place(owner, name)).await?;
        if let Some(there) = there
            && let Ok(known) = read(&there)
            && let Ok(same) = self.key.open(owner, name, &known.sealed)
            && (same.bytes(), known.version) == (secret.bytes(), record.version)
        {
            return Ok(Some(there.value));
        }
        let sealed = self.key.seal(owner, name, &secret);
        record.sealed = sealed.map_err(|_| NotAdopted::NotSealed)?;
        Ok(Some(serde_json::to_vec(&record)?.into()))
    }

    fn view(&self, record: &Record, used_by: Vec<Name>) -> SecretView {
        SecretView {
            owner: record.owner.clone(),
            name: record.name.clone(),
            version: record.version,
            set_us: record.set_us,
            readable: record.sealed.key == self.key.id(),
            used_by,
        }
    }
}

impl SecretSource for Vault {
    fn secret<'a>(
        &'a self,
        owner: &'a Name,
        name: &'a Name,
    ) -> BoxFuture<'a, Result<Secret, NoSecret>> {
        Box::pin(self.open(owner, name))
    }
}

impl Controller {
    /// Sets a secret. Returns when it is on the disk and no request begins any more with what it
    /// was before.
    pub async fn set_secret(
        &self,
        owner: Name,
        name: Name,
        value: Secret,
    ) -> Result<SecretView, SecretError> {
        let bytes = value.bytes().len();
        if !(1..=SECRET_MAX_BYTES).contains(&bytes) {
            return Err(SecretError::Length { bytes });
        }
        let vault = self.core.vault()?;
        let core = Arc::clone(&self.core);
        // What has begun is finished, even where the caller goes away.
        let task = tokio::spawn(async move { core.set(&vault, owner, name, &value).await });
        task.await.unwrap_or(Err(SecretError::NoVault))
    }

    /// Shows that a secret is there.
    pub async fn secret(&self, owner: &Name, name: &Name) -> Result<SecretView, SecretError> {
        let vault = self.core.vault()?;
        let entry = self.core.backbone.get(&place(owner, name)).await?;
        let missing = || SecretError::Missing {
            owner: owner.clone(),
            name: name.clone(),
        };
        let record = entry
            .and_then(|entry| read(&entry).ok())
            .ok_or_else(missing)?;
        let used_by = self.core.users(owner, name).await?;
        Ok(vault.view(&record, used_by))
    }

    /// The secrets of one owner, or of all, by owner and name.
    pub async fn secrets(&self, owner: Option<&Name>) -> Result<Vec<SecretView>, SecretError> {
        let vault = self.core.vault()?;
        let prefix = owner.map_or(PREFIX.to_owned(), |owner| format!("{PREFIX}{owner}."));
        let entries = self.core.backbone.list(&prefix).await?.entries;
        let functions = records::all(&*self.core.backbone).await?;
        let functions: Vec<_> = functions.into_iter().flatten().collect();
        let records = entries.iter().filter_map(|entry| read(entry).ok());
        let views = records.map(|record| {
            let using = functions.iter().filter(|kept| {
                let function = &kept.record;
                function.key.owner == record.owner
                    && function.current.settings.uses_secret(&record.name)
            });
            let used_by = using.map(|kept| kept.record.key.name.clone()).collect();
            vault.view(&record, used_by)
        });
        Ok(views.collect())
    }

    /// Deletes a secret that no function is granted.
    pub async fn delete_secret(
        &self,
        owner: Name,
        name: Name,
    ) -> Result<SecretDeleted, SecretError> {
        self.core.vault()?;
        let used_by = self.core.users(&owner, &name).await?;
        if !used_by.is_empty() {
            return Err(SecretError::Used { name, used_by });
        }
        let key = place(&owner, &name);
        if self.core.backbone.get(&key).await?.is_none() {
            return Err(SecretError::Missing { owner, name });
        }
        match self.core.backbone.delete(&key, None).await {
            Err(source) => Err(SecretError::Write { name, source }),
            Ok(_) => {
                // Older revisions that still run have it no longer, should they be started again.
                self.core.node.secret_changed(&owner, &name).await;
                tracing::info!(%owner, %name, "secret deleted");
                Ok(SecretDeleted { owner, name })
            }
        }
    }
}

impl Core {
    fn vault(&self) -> Result<Arc<Vault>, SecretError> {
        self.options.vault.clone().ok_or(SecretError::NoVault)
    }

    async fn set(
        &self,
        vault: &Vault,
        owner: Name,
        name: Name,
        value: &Secret,
    ) -> Result<SecretView, SecretError> {
        let _turn = self.secrets.lock().await;
        let key = place(&owner, &name);
        let before = self.backbone.get(&key).await?;
        if before.is_none() {
            let listing = self.backbone.list(&format!("{PREFIX}{owner}.")).await?;
            if listing.entries.len() >= SECRETS_MAX {
                return Err(SecretError::TooMany { owner });
            }
        }
        let older = before.and_then(|entry| read(&entry).ok());
        let sealed = vault.key.seal(&owner, &name, value);
        let record = Record {
            version: older.map_or(1, |older| older.version.saturating_add(1)),
            set_us: now_us(),
            sealed: sealed.map_err(|_| SecretError::Seal)?,
            owner: owner.clone(),
            name: name.clone(),
        };
        let write = match serde_json::to_vec(&record) {
            Ok(bytes) => self.backbone.put(&key, Bytes::from(bytes)).await,
            Err(error) => Err(WriteError::Io(Arc::new(error.into()))),
        };
        if let Err(source) = write {
            return Err(SecretError::Write { name, source });
        }
        self.node.secret_changed(&owner, &name).await;
        tracing::info!(%owner, %name, version = record.version, "secret set");
        let used_by = self.users(&owner, &name).await?;
        Ok(vault.view(&record, used_by))
    }

    /// The functions that are granted a secret.
    async fn users(&self, owner: &Name, secret: &Name) -> Result<Vec<Name>, RecordError> {
        let all = records::all(&*self.backbone).await?;
        let using = all.into_iter().flatten().map(|kept| kept.record);
        let using = using.filter(|function| {
            function.key.owner == *owner && function.current.settings.uses_secret(secret)
        });
        Ok(using.map(|function| function.key.name).collect())
    }
}

/// Whose secret stands at a key of the backbone, and which; none: no secret does.
pub(crate) fn named(key: &str) -> Option<(Name, Name)> {
    let (owner, name) = key.strip_prefix(PREFIX)?.split_once('.')?;
    Some((owner.parse().ok()?, name.parse().ok()?))
}

/// Names have no dots, so that no two secrets share a place.
fn place(owner: &Name, name: &Name) -> String {
    format!("{PREFIX}{owner}.{name}")
}

fn read(entry: &Entry) -> Result<Record, serde_json::Error> {
    serde_json::from_slice(&entry.value)
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(…)")
    }
}

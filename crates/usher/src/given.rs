//! What functions are given on this platform: the vault of secrets, and the store of buckets.
//!
//! ```text
//!   DATA/secrets.key, or --secrets-key FILE ─► vault, over the backbone's records
//!   DATA/keyvalue/ ─► a store of its own, so that functions cannot fill that of the records
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use usher_backbone::{Embedded, KeyValue, Limits};
use usher_controller::BucketEntries;
use usher_controller::secrets::{SealKey, Vault};
use usher_engine::Sources;
use usher_node::BucketStore;

/// The folder of the buckets, in the data folder.
const BUCKETS_FOLDER: &str = "keyvalue";

/// Both, and what buckets hold as entries.
pub(crate) struct Given {
    pub(crate) vault: Arc<Vault>,
    pub(crate) sources: Sources,
    pub(crate) buckets: BucketEntries,
}

/// Opens both. A key that is named must be there; one in the data folder is made if there is none.
pub(crate) async fn open(
    backbone: &Arc<Embedded>,
    data: &Path,
    key: Option<&Path>,
) -> anyhow::Result<Given> {
    let (folder, named) = (data.to_owned(), key.map(Path::to_owned));
    let opened = tokio::task::spawn_blocking(move || opened(&folder, named));
    let (key, buckets) = opened.await??;
    let counted = Arc::new(BucketStore::new(Arc::clone(&buckets)));
    let vault = Vault::new(Arc::clone(backbone) as _, key);
    let unreadable = vault.unreadable().await?;
    if unreadable > 0 {
        tracing::error!(
            unreadable,
            "secrets are sealed by another key; put it back, or set them anew"
        );
    }
    let sources = Sources {
        secrets: Some(Arc::clone(&vault) as _),
        buckets: Some(Arc::clone(&counted) as _),
    };
    Ok(Given {
        vault,
        sources,
        buckets: BucketEntries {
            store: buckets,
            counted,
        },
    })
}

fn opened(data: &Path, key: Option<PathBuf>) -> anyhow::Result<(SealKey, Arc<dyn KeyValue>)> {
    let key = match key {
        Some(path) => SealKey::read(&path),
        None => SealKey::of_folder(data),
    }?;
    let folder = data.join(BUCKETS_FOLDER);
    let buckets = Embedded::open(&folder, Limits::default());
    let buckets =
        buckets.with_context(|| format!("the buckets in {} were not opened", folder.display()))?;
    Ok((key, Arc::new(buckets)))
}

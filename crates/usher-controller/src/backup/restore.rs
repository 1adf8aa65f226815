//! Restoring a back-up into a running platform.
//!
//! ```text
//!   contents ─► blobs stored ─► key, entries read whole ─► judged ─┬ a conflict ─► refused
//!                                                   told ◄─ written in batches ◄┘
//! ```
//!
//! Until the first batch is written nothing has changed but that there are more artifacts, which
//! are collected if no record names them. A restore that was cut off is finished by restoring
//! again: what is there already is left as it is.
//!
//! Deliberately absent: the writes (`writing`), and who is told of them (`tell`).

use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;
use usher_api::backup::{
    BUCKETS, ENTRIES, ENTRIES_MAX_BYTES, Entry, FILE_MAX_BYTES, List, OnConflict, Part, ReadError,
    Reader, Restored, blob_name, file_name,
};
use usher_api::record::FUNCTIONS_PREFIX;
use usher_backbone::{KeyValue, PutBlobError, WriteError};

use super::plan::{Fate, Wanted, ordered};
use super::writing::{Writing, judge};
use crate::controller::{Controller, Core};
use crate::secrets::{KEY_FILE, NotAdopted, Vault};

/// Conflicts that are told by name.
const TOLD_MAX: usize = 20;
/// Pieces of a blob that wait for the disk.
const PIECES_MAX: usize = 4;

type Source = BoxStream<'static, io::Result<Bytes>>;

/// Why a back-up was not restored, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be read. Nothing was changed.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// Something in it does not fit its contents. Nothing was changed.
    #[error("the back-up is damaged: {what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// An artifact could not be stored. Nothing was changed.
    #[error("an artifact of the back-up could not be stored")]
    Blob(#[from] PutBlobError),
    /// The entries that are there could not be read. Nothing was changed.
    #[error("the store could not be read")]
    Read(#[from] usher_backbone::ReadError),
    /// Other values are there. Nothing was changed.
    #[error(
        "{} entries are there already with other values, so nothing was restored; restore into an \
         empty platform, or say --keep for what is there, or --replace for what is in the back-up",
        keys.len()
    )]
    Conflicts {
        /// Where.
        keys: Vec<String>,
    },
    /// Somebody else has written an entry since all of them were judged.
    #[error(
        "{key:?} was written by somebody else while the back-up was restored; what was restored \
         stays; say --keep or --replace to go on"
    )]
    Overtaken {
        /// Where.
        key: String,
    },
    /// Somebody else changed entries each time in between.
    #[error(
        "others changed entries while they were restored, {tries} times in a row; restore again: \
         what was restored stays"
    )]
    Contended {
        /// How often it was tried.
        tries: usize,
    },
    /// Entries could not be written. Those of earlier batches are.
    #[error("not all entries could be written; restore again: what was restored stays")]
    Write(#[source] WriteError),
    /// It is stored, and not yet known to every gateway.
    #[error("all is restored, but a gateway did not learn of it within {wait_max_ms} ms")]
    NotFollowed {
        /// The bound.
        wait_max_ms: u64,
    },
    /// The task that did it has ended early: the platform stops, or has a fault.
    #[error("the restore was cut off; restore again: what was restored stays")]
    CutOff,
}

/// A whole archive, read; its blobs are stored already.
struct Read {
    buckets: Vec<Wanted>,
    entries: Vec<Wanted>,
    /// The file that holds the key of the other platform's secrets, where it came along.
    key: Option<Vec<u8>>,
    blobs: u64,
}

impl Controller {
    /// Restores the back-up that streams in. Returns once all of it is on disk, every gateway
    /// knows, and no request begins any more with a secret that was replaced.
    ///
    /// Dropping the future does not stop a restore that writes already.
    ///
    /// # Errors
    /// Each variant says what was changed by then.
    pub async fn restore(
        &self,
        source: Source,
        on_conflict: OnConflict,
    ) -> Result<Restored, RestoreError> {
        let core = Arc::clone(&self.core);
        // What was replaced is told to the node in the end, also where the caller goes away.
        let task = tokio::spawn(async move { core.restore(source, on_conflict).await });
        task.await.unwrap_or(Err(RestoreError::CutOff))
    }
}

impl Core {
    async fn restore(
        self: &Arc<Self>,
        source: Source,
        on_conflict: OnConflict,
    ) -> Result<Restored, RestoreError> {
        // What is stored now is named by entries that are still to be written.
        let artifacts = self.artifacts.read().await;
        let mut read = read(self, source).await?;
        if let Some(vault) = &self.options.vault {
            read.adopt_secrets(vault).await?;
        }
        let records: &dyn KeyValue = &*self.backbone;
        refuse_conflicts(records, &read.entries, on_conflict).await?;
        if let Some(buckets) = &self.options.buckets {
            refuse_conflicts(&*buckets.store, &read.buckets, on_conflict).await?;
        } else if !read.buckets.is_empty() {
            let what = "it has entries of buckets, and this platform keeps none".to_owned();
            return Err(RestoreError::Damaged { what });
        }
        let mut writing = Writing::new(on_conflict, self.options.tries_max);
        writing.restored.blobs = read.blobs;
        if let Some(buckets) = &self.options.buckets {
            let written = writing.all(&*buckets.store, &read.buckets).await;
            // What was written is there, even where not all was.
            buckets.counted.others_wrote().await;
            written?;
        }
        let written = writing.all(records, &read.entries).await;
        // Changes wait for it in their functions' turns, for which telling waits.
        drop(artifacts);
        let followed = self.tell(writing.told).await;
        written?;
        let wait_max_ms = self.options.follow_wait_max_ms;
        match followed {
            true => Ok(writing.restored),
            false => Err(RestoreError::NotFollowed { wait_max_ms }),
        }
    }
}

async fn read(core: &Core, source: Source) -> Result<Read, RestoreError> {
    let (mut reader, contents) = Reader::open(source).await?;
    for blob in &contents.blobs {
        store(core, &mut reader, *blob).await?;
    }
    let mut key = None;
    for file in &contents.files {
        // Whoever made the archive may have written any name into it.
        if file.name != KEY_FILE {
            let what = format!("{:?} is no file that a platform has", file.name);
            return Err(RestoreError::Damaged { what });
        }
        let name = file_name(&file.name);
        key = Some(reader.whole(&name, file.part, FILE_MAX_BYTES).await?);
    }
    let buckets = list(&mut reader, BUCKETS, contents.buckets).await?;
    let entries = list(&mut reader, ENTRIES, contents.entries).await?;
    Ok(Read {
        buckets,
        entries: ordered(entries, FUNCTIONS_PREFIX),
        key,
        blobs: contents.blobs.len() as u64,
    })
}

/// Stores one blob as it streams in.
async fn store(core: &Core, reader: &mut Reader<Source>, blob: Part) -> Result<(), RestoreError> {
    reader.begin(&blob_name(&blob.digest), blob.bytes).await?;
    let (pieces, received) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let received = futures_util::stream::unfold(received, |mut received| async move {
        received.recv().await.map(|piece| (piece, received))
    });
    let feed = async {
        while let Some(piece) = reader.piece().await? {
            if pieces.send(Ok(piece)).await.is_err() {
                // The store has given up, and says why.
                break;
            }
        }
        drop(pieces);
        Ok::<_, ReadError>(())
    };
    let (fed, stored) = tokio::join!(feed, core.backbone.put_blob(received.boxed()));
    let stored = stored?;
    fed?;
    match stored.digest == blob.digest {
        true => Ok(()),
        false => Err(RestoreError::Damaged {
            what: format!("the artifact {} has another digest", blob.digest),
        }),
    }
}

async fn list(
    reader: &mut Reader<Source>,
    name: &str,
    told: List,
) -> Result<Vec<Wanted>, RestoreError> {
    let list = reader.whole(name, told.part, ENTRIES_MAX_BYTES).await?;
    let damaged = |what: String| RestoreError::Damaged { what };
    let lines = list
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let read = lines.map(|line| {
        let Entry { key, value } = serde_json::from_slice(line)
            .map_err(|error| damaged(format!("an entry cannot be read: {error}")))?;
        let value = STANDARD
            .decode(value)
            .map_err(|_| damaged(format!("the value of {key:?} is not base64")))?;
        usher_backbone::key::check_key(&key).map_err(|error| damaged(error.to_string()))?;
        Ok(Wanted {
            key,
            value: value.into(),
        })
    });
    let read = read.collect::<Result<Vec<_>, RestoreError>>()?;
    match read.len() as u64 == told.count {
        true => Ok(read),
        false => Err(damaged(format!(
            "{} entries are in {name}, its contents tell {}",
            read.len(),
            told.count
        ))),
    }
}

async fn refuse_conflicts(
    store: &dyn KeyValue,
    entries: &[Wanted],
    on_conflict: OnConflict,
) -> Result<(), RestoreError> {
    let mut keys = Vec::new();
    for wanted in entries {
        if judge(store, wanted, on_conflict).await?.0 == Fate::Refuse && keys.len() < TOLD_MAX {
            keys.push(wanted.key.clone());
        }
    }
    match keys.is_empty() {
        true => Ok(()),
        false => Err(RestoreError::Conflicts { keys }),
    }
}

impl Read {
    /// Has secrets sealed by this platform's own key. The other one's, where it came along, is
    /// written nowhere.
    async fn adopt_secrets(&mut self, vault: &Vault) -> Result<(), RestoreError> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        for entry in &mut self.entries {
            let adopted = vault.adopted(&entry.key, &entry.value, key).await;
            let damaged = |why: NotAdopted| RestoreError::Damaged {
                what: format!("the secret at {:?}: {why}", entry.key),
            };
            if let Some(value) = adopted.map_err(damaged)? {
                entry.value = value;
            }
        }
        Ok(())
    }
}

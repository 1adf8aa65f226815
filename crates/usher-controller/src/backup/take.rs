//! A back-up as a stream of bytes.
//!
//! Invariant: as long as the stream lives, no artifact is collected, so that none which the entries
//! name can go before it was sent. A client that reads slowly keeps nobody else waiting: the
//! collector tries again later.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use usher_api::backup::{
    BUCKETS, CONTENTS, Contents, END, ENTRIES, Entry, FORMAT, List, NamedPart, Part, blob_name,
    file_name, header, padding, total_bytes,
};
use usher_backbone::{Entry as Stored, ReadError};
use usher_core::id::Digest;

use crate::controller::{Controller, Core, now_us};
use crate::records::{self, RecordError};

/// Pieces that wait for the client.
const PIECES_MAX: usize = 4;

/// Why no back-up was begun.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The entries could not be read.
    #[error("the store could not be read")]
    Read(#[from] ReadError),
    /// A record cannot be read, so nobody knows which artifacts belong to it.
    #[error("a record cannot be backed up with what belongs to it")]
    Record(#[from] RecordError),
    /// Whether an artifact is there could not be found out.
    #[error("the artifacts could not be read")]
    Artifacts(#[source] io::Error),
    /// A record names an artifact that is not there.
    #[error(
        "artifact {artifact} is named by a function and is not stored; deploy the function again \
         or delete it, then take the back-up"
    )]
    Missing {
        /// Which.
        artifact: Digest,
    },
    /// A file of the platform's own could not be read.
    #[error("{name} could not be read")]
    File {
        /// As below the data folder.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The entries could not be written as JSON.
    #[error("the entries could not be written")]
    Json(#[from] serde_json::Error),
}

/// A back-up on its way out.
pub struct Archive {
    /// How many bytes will come.
    pub bytes: u64,
    /// The bytes. An error ends them early: then what was received is no back-up.
    pub pieces: BoxStream<'static, io::Result<Bytes>>,
}

/// Bytes of the archive before the blobs, and behind them.
struct Frame {
    contents: Contents,
    head: Vec<u8>,
    files: Vec<Vec<u8>>,
    buckets: Vec<u8>,
    list: Vec<u8>,
}

impl Controller {
    /// Takes a back-up of all functions, with everything that belongs to the platform.
    ///
    /// # Errors
    /// If something that must be in it cannot be read.
    pub async fn take_backup(&self) -> Result<Archive, TakeError> {
        let core = Arc::clone(&self.core);
        // Taken before the entries are read: from then on nothing that they name is collected.
        let kept = Arc::clone(&core.artifacts).read_owned().await;
        let frame = frame(&core).await?;
        let bytes = total_bytes(&frame.contents, frame.head.len() as u64);
        let (pieces, received) = mpsc::channel(PIECES_MAX);
        tokio::spawn(async move {
            let _kept = kept;
            if let Err(error) = send(&core, frame, &pieces).await {
                // A client that has gone does not need to be told.
                let _ = pieces.send(Err(error)).await;
            }
        });
        let pieces = stream::unfold(received, |mut received| async move {
            received.recv().await.map(|piece| (piece, received))
        });
        Ok(Archive {
            bytes,
            pieces: pieces.boxed(),
        })
    }
}

async fn frame(core: &Core) -> Result<Frame, TakeError> {
    let listing = core.backbone.list("").await?;
    let mut named = BTreeSet::new();
    for entry in &listing.entries {
        named.extend(records::artifacts_of(entry)?);
    }
    let mut blobs = Vec::with_capacity(named.len());
    let stored = core.backbone.list_blobs().await;
    let stored = stored.map_err(TakeError::Artifacts)?;
    for artifact in named {
        let found = stored.binary_search_by_key(&artifact, |blob| blob.digest);
        let found = found.map_err(|_| TakeError::Missing { artifact })?;
        blobs.push(Part {
            digest: artifact,
            bytes: stored[found].bytes,
        });
    }
    // After the records, so that no function is in it without what it had written by then.
    let buckets = match &core.options.buckets {
        Some(buckets) => buckets.store.list("").await?.entries,
        None => Vec::new(),
    };
    let (buckets, in_buckets) = lines(&buckets)?;
    let (list, entries) = lines(&listing.entries)?;
    let (named, files) = own_files(core).await?;
    let contents = Contents {
        format: FORMAT,
        usher: env!("CARGO_PKG_VERSION").to_owned(),
        taken_us: now_us(),
        revision: listing.revision,
        blobs,
        files: named,
        buckets: in_buckets,
        entries,
    };
    let mut head = serde_json::to_vec_pretty(&contents)?;
    head.push(b'\n');
    Ok(Frame {
        contents,
        head,
        files,
        buckets,
        list,
    })
}

/// Entries as lines, and what the contents say of them.
fn lines(entries: &[Stored]) -> Result<(Vec<u8>, List), serde_json::Error> {
    let mut lines = Vec::new();
    for entry in entries {
        let entry = Entry {
            key: entry.key.to_string(),
            value: STANDARD.encode(&entry.value),
        };
        serde_json::to_writer(&mut lines, &entry)?;
        lines.push(b'\n');
    }
    let list = List {
        count: entries.len() as u64,
        part: part(&lines),
    };
    Ok((lines, list))
}

/// Those of the platform's own files that are there.
async fn own_files(core: &Core) -> Result<(Vec<NamedPart>, Vec<Vec<u8>>), TakeError> {
    let mut named = Vec::new();
    let mut files = Vec::new();
    for name in core.options.own_files.names() {
        let bytes = match tokio::fs::read(core.options.own_files.path(name)).await {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => {
                let name = name.to_owned();
                return Err(TakeError::File { name, source });
            }
        };
        named.push(NamedPart {
            name: name.to_owned(),
            part: part(&bytes),
        });
        files.push(bytes);
    }
    Ok((named, files))
}

async fn send(
    core: &Core,
    frame: Frame,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    let Frame {
        contents,
        head,
        files,
        buckets,
        list,
    } = frame;
    let taken_us = contents.taken_us;
    let member = |name: String, bytes: Bytes| async move {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        let size = bytes.len() as u64;
        for piece in [header(&name, size, taken_us), bytes, padding(size)] {
            pieces.send(Ok(piece)).await.map_err(gone)?;
        }
        Ok::<_, io::Error>(())
    };
    member(CONTENTS.to_owned(), head.into()).await?;
    for blob in &contents.blobs {
        let bytes = core.backbone.get_blob(&blob.digest).await;
        let bytes = bytes.map_err(io::Error::other)?;
        let bytes = bytes.ok_or_else(|| io::Error::other("an artifact went meanwhile"))?;
        member(blob_name(&blob.digest), bytes).await?;
    }
    for (file, bytes) in contents.files.iter().zip(files) {
        member(file_name(&file.name), bytes.into()).await?;
    }
    member(BUCKETS.to_owned(), buckets.into()).await?;
    member(ENTRIES.to_owned(), list.into()).await?;
    let end = pieces.send(Ok(Bytes::from_static(&END))).await;
    end.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
}

fn part(bytes: &[u8]) -> Part {
    Part {
        digest: Digest(Sha256::digest(bytes).into()),
        bytes: bytes.len() as u64,
    }
}

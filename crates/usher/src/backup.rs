//! `usher backup` and `usher restore`: the whole platform as one file.
//!
//! ```text
//!   backup:   API ─► FILE.partial ─read again whole─► FILE
//!   restore:  FILE ─read whole─► API
//! ```
//!
//! A file under its own name is a whole back-up: it gets that name only once every byte was read
//! back and fits the contents. So does a file before anything of it is sent.
//!
//! Deliberately absent: what belongs into a back-up, which the controller decides.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http_body::Frame;
use http_body_util::StreamBody;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use usher_api::backup::{
    BUCKETS, Contents, ENTRIES, ENTRIES_MAX_BYTES, FILE_MAX_BYTES, OnConflict, Reader, blob_name,
    file_name,
};
use usher_api::body::{Body, BodyError};
use usher_api::client::Client;
use usher_core::id::Digest;

use crate::cli::backup::{Backup, Restore};
use crate::output;

/// How much of a file is read at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// What a back-up holds, for whoever took or checks it.
#[derive(Serialize)]
struct Told<'a> {
    file: &'a Path,
    bytes: u64,
    entries: u64,
    bucket_entries: u64,
    artifacts: usize,
    files: usize,
    revision: u64,
    taken_us: u64,
}

/// Takes a back-up into a file.
pub(crate) async fn backup(backup: Backup, json: bool) -> anyhow::Result<()> {
    let client = backup.remote.client()?;
    if backup.file.as_os_str() == "-" {
        return to_standard_output(&client).await;
    }
    if backup.file.exists() && !backup.force {
        let file = backup.file.display();
        bail!("{file} is there already; name another file, or say --force to write over it");
    }
    let partial = Partial::beside(&backup.file);
    let bytes = download(&client, &partial.0).await?;
    let contents = check(&partial.0).await?;
    tokio::fs::rename(&partial.0, &backup.file).await?;
    sync_folder_of(&backup.file).await?;
    tell("wrote", &backup.file, bytes, &contents, json)
}

/// Restores a file.
pub(crate) async fn restore(restore: Restore, json: bool) -> anyhow::Result<()> {
    let client = restore.remote.client()?;
    let file = &restore.file;
    let contents = check(file).await?;
    let bytes = tokio::fs::metadata(file).await?.len();
    if restore.check {
        return tell("whole:", file, bytes, &contents, json);
    }
    let on_conflict = match (restore.keep, restore.replace) {
        (true, _) => OnConflict::Keep,
        (_, true) => OnConflict::Replace,
        _ => OnConflict::Refuse,
    };
    let bar = bar(Some(bytes), "restoring");
    let pieces = pieces_of(file).await?;
    let frames = pieces
        .inspect_ok(move |piece| bar.inc(piece.len() as u64))
        .map_ok(Frame::data)
        .map_err(|error| BodyError::Broken(error.to_string()));
    let archive = Body::stream(StreamBody::new(frames));
    let restored = client.restore(archive, on_conflict).await?;
    if json {
        return output::json(&restored);
    }
    output::line(format!(
        "restored: {} entries added, {} replaced, {} kept, {} as they were; {} artifacts",
        restored.added, restored.replaced, restored.kept, restored.unchanged, restored.blobs
    ))?;
    Ok(())
}

fn tell(
    what: &str,
    file: &Path,
    bytes: u64,
    contents: &Contents,
    json: bool,
) -> anyhow::Result<()> {
    let told = Told {
        file,
        bytes,
        entries: contents.entries.count,
        bucket_entries: contents.buckets.count,
        artifacts: contents.blobs.len(),
        files: contents.files.len(),
        revision: contents.revision,
        taken_us: contents.taken_us,
    };
    if json {
        return output::json(&told);
    }
    output::line(format!(
        "{what} {}: {bytes} bytes, {} entries, {} in buckets, {} artifacts; keep it as secret as \
         the platform's data folder",
        file.display(),
        told.entries,
        told.bucket_entries,
        told.artifacts
    ))?;
    Ok(())
}

/// A file that goes unless it was renamed.
struct Partial(PathBuf);

impl Partial {
    fn beside(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".partial");
        Self(name.into())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone where it was renamed, or never made.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn download(client: &Client, path: &Path) -> anyhow::Result<u64> {
    let written = || format!("{} could not be written", path.display());
    let mut download = client.backup().await?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).await.with_context(written)?;
    let bar = bar(download.bytes, "backing up");
    let mut bytes = 0;
    while let Some(piece) = download.pieces.next().await {
        let piece = piece?;
        file.write_all(&piece).await.with_context(written)?;
        bytes += piece.len() as u64;
        bar.set_position(bytes);
    }
    file.flush().await.with_context(written)?;
    file.sync_all().await.with_context(written)?;
    Ok(bytes)
}

async fn to_standard_output(client: &Client) -> anyhow::Result<()> {
    let mut pieces = client.backup().await?.pieces;
    let mut out = tokio::io::stdout();
    while let Some(piece) = pieces.next().await {
        out.write_all(&piece?).await?;
    }
    Ok(out.flush().await?)
}

/// Reads a back-up whole and compares it with its contents.
async fn check(path: &Path) -> anyhow::Result<Contents> {
    let checked = async {
        let (mut reader, contents) = Reader::open(pieces_of(path).await?).await?;
        for blob in &contents.blobs {
            let name = blob_name(&blob.digest);
            reader.begin(&name, blob.bytes).await?;
            let mut hasher = Sha256::new();
            while let Some(piece) = reader.piece().await? {
                hasher.update(&piece);
            }
            if Digest(hasher.finalize().into()) != blob.digest {
                bail!("the bytes of {name} have another digest: the back-up was changed");
            }
        }
        for file in &contents.files {
            let name = file_name(&file.name);
            reader.whole(&name, file.part, FILE_MAX_BYTES).await?;
        }
        for (name, list) in [(BUCKETS, contents.buckets), (ENTRIES, contents.entries)] {
            reader.whole(name, list.part, ENTRIES_MAX_BYTES).await?;
        }
        Ok(contents)
    };
    let checked = checked.await;
    checked.with_context(|| format!("{} is not a whole back-up", path.display()))
}

/// A file's bytes as they are read.
async fn pieces_of(path: &Path) -> anyhow::Result<BoxStream<'static, io::Result<Bytes>>> {
    let file = File::open(path)
        .await
        .with_context(|| format!("{} could not be opened", path.display()))?;
    let pieces = stream::try_unfold(file, |mut file| async move {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        match file.read_buf(&mut piece).await? {
            0 => Ok(None),
            _ => Ok(Some((piece.freeze(), file))),
        }
    });
    Ok(pieces.boxed())
}

async fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    Ok(File::open(folder).await?.sync_all().await?)
}

/// Shown on a terminal only.
fn bar(bytes: Option<u64>, what: &'static str) -> ProgressBar {
    let bar = match bytes {
        Some(bytes) => ProgressBar::new(bytes),
        None => ProgressBar::no_length(),
    };
    let style = ProgressStyle::with_template("{msg} {bytes} of {total_bytes} {bar:30}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

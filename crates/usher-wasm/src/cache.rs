//! Compiled code on disk: one folder per artifact and way of serving, made whole or not at all.
//!
//! ```text
//! FOLDER/wasm-48…-…/DIGEST-live/{component.wasm, guarded.cwasm, entry.json}
//! ```
//!
//! An entry is written beside its place and renamed into it. What is loaded has the checksum that
//! the entry records; an entry that does not is made anew and replaced. Code is trusted, so the
//! folder belongs to the platform alone (mode 0700).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use usher_api::node::PrepareFault;
use usher_core::fault::Blame;
use usher_core::id::Digest;

use crate::compile::{ARTIFACT_FILE, Compiled, Compiler, Job};
use crate::settings::FreshPool;

/// Compilations that run at once.
const COMPILES_MAX: usize = 2;
/// Name of the description within an entry's folder.
const ENTRY_FILE: &str = "entry.json";

/// The cache.
pub(crate) struct Cache {
    folder: PathBuf,
    compiler: Compiler,
    pool: FreshPool,
    permits: Semaphore,
    joined: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// Compiled code that is there and whole.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) folder: PathBuf,
    pub(crate) compiled: Compiled,
    /// What compiling took, in milliseconds; none where it was there.
    pub(crate) compile_ms: Option<u64>,
}

impl Cache {
    /// Opens the cache in `folder`, which is made if it is not there.
    pub(crate) fn open(folder: PathBuf, compiler: Compiler, pool: FreshPool) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let writers = fs::metadata(&folder)?.permissions().mode() & 0o022;
        if writers != 0 {
            let folder = folder.display();
            let text = format!("{folder} may be written by others, who could put code there");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        forget_drafts(&folder)?;
        Ok(Self {
            folder,
            compiler,
            pool,
            permits: Semaphore::new(COMPILES_MAX),
            joined: Mutex::default(),
        })
    }

    /// The entry of an artifact, compiled now if it is not there. Concurrent calls for one artifact
    /// join: one compiles, the others find what it made.
    pub(crate) async fn entry(
        &self,
        artifact: Digest,
        live: bool,
        bytes: impl AsyncFnOnce() -> Result<Bytes, PrepareFault>,
    ) -> Result<Entry, PrepareFault> {
        let name = format!("{artifact}-{}", if live { "live" } else { "fresh" });
        let turn = self.turn(&name);
        let _turn = turn.lock().await;
        let place = self.folder.join(&name);
        if let Some(compiled) = read(place.clone()).await {
            return Ok(Entry {
                folder: place,
                compiled,
                compile_ms: None,
            });
        }
        let _permit = self.permits.acquire().await.map_err(|_| failed("closed"))?;
        let bytes = bytes().await?;
        let draft = Draft::new(&self.folder, &name, &bytes).map_err(failed)?;
        let begun = Instant::now();
        let job = Job {
            folder: draft.0.clone(),
            live,
            pool: self.pool,
        };
        let compiled = self.compiler.run(job).await?;
        let compile_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        draft.settle(&place, &compiled).map_err(failed)?;
        Ok(Entry {
            folder: place,
            compiled,
            compile_ms: Some(compile_ms.max(1)),
        })
    }

    fn turn(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut joined = self.joined.lock();
        joined.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = joined.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        joined.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// How old a draft is that nobody is working on any more, in seconds.
const DRAFT_MAX_S: u64 = 3_600;

/// Removes what a killed platform has left half done.
fn forget_drafts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let draft = entry.file_name().to_string_lossy().starts_with(DRAFT);
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if draft && age.as_secs() > DRAFT_MAX_S {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// How the name of a folder begins whose entry is in the making.
const DRAFT: &str = ".draft-";

/// The fault of a cache that could not be read or written.
pub(crate) fn failed(error: impl std::fmt::Display) -> PrepareFault {
    PrepareFault {
        blame: Blame::Platform,
        message: format!(
            "the cache of compiled code failed: {error}; free disk space may be short"
        ),
    }
}

/// A whole entry, or none: what is damaged stays until a whole one takes its place.
async fn read(place: PathBuf) -> Option<Compiled> {
    let checked = tokio::task::spawn_blocking(move || check(&place));
    checked.await.ok().flatten()
}

fn check(place: &Path) -> Option<Compiled> {
    let entry = fs::read(place.join(ENTRY_FILE)).ok()?;
    let compiled: Compiled = serde_json::from_slice(&entry).ok()?;
    let whole = compiled
        .sums
        .iter()
        .all(|(name, sum)| sum_of(&place.join(name)).is_ok_and(|found| found == *sum));
    whole.then_some(compiled)
}

/// The checksum of a file, read piece by piece: a language runtime's code has tens of megabytes.
fn sum_of(path: &Path) -> io::Result<Digest> {
    let mut sum = Sha256::new();
    io::copy(&mut fs::File::open(path)?, &mut sum)?;
    Ok(Digest(sum.finalize().into()))
}

/// The folder of an entry in the making, gone when dropped.
struct Draft(PathBuf);

impl Draft {
    fn new(folder: &Path, name: &str, artifact: &[u8]) -> io::Result<Self> {
        let draft = folder.join(format!("{DRAFT}{name}-{:016x}", rand::random::<u64>()));
        fs::DirBuilder::new().mode(0o700).create(&draft)?;
        let draft = Self(draft);
        fs::write(draft.0.join(ARTIFACT_FILE), artifact)?;
        Ok(draft)
    }

    fn settle(self, place: &Path, compiled: &Compiled) -> io::Result<()> {
        fs::write(self.0.join(ENTRY_FILE), serde_json::to_vec(compiled)?)?;
        for entry in fs::read_dir(&self.0)? {
            fs::File::open(entry?.path())?.sync_all()?;
        }
        match fs::rename(&self.0, place) {
            // Another platform over the same folder was faster.
            Err(_) if check(place).is_some() => Ok(()),
            Err(_) if place.exists() => {
                fs::remove_dir_all(place)?;
                fs::rename(&self.0, place)
            }
            renamed => renamed,
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename there is nothing left at the old name.
        let _gone = fs::remove_dir_all(&self.0);
    }
}

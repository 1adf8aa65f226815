//! A Linux program: its folder or its file, recognised and packed.
//!
//! What is recognised is what is packed: a file that `.usherignore` leaves out decides nothing.
//! Deliberately absent: how it is recognised (`usher_api::shape`).

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use bytes::Bytes;
use tempfile::TempDir;
use usher_api::shape::{self, Files, HEAD_MAX_BYTES, Shape};
use usher_core::function::Settings;
use usher_core::id::Name;
use usher_process::bundle::{self, Bounds, MemberKind, Packed};

use super::{Source, head};

/// Recognises the program in a folder, and packs the folder.
pub(super) fn folder(folder: &Path, name: Name) -> anyhow::Result<Source> {
    let packed = bundle::pack(folder, Bounds::default())?;
    let files = files(&packed, |path| head(&folder.join(path), HEAD_MAX_BYTES))?;
    let shape = shape::recognise(&files);
    let shape = shape.with_context(|| format!("{} was not recognised", folder.display()))?;
    Ok(recognised(name, packed, shape))
}

/// Recognises a program of one file, and packs it alone.
pub(super) fn file(path: &Path, name: Name) -> anyhow::Result<Source> {
    let packed = bundle::pack_file(path, Bounds::default())?;
    let files = files(&packed, |_| head(path, HEAD_MAX_BYTES))?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let shape = shape::recognise_file(&file, &files);
    let shape = shape.with_context(|| format!("{} was not recognised", path.display()))?;
    Ok(recognised(name, packed, shape))
}

/// Packs a folder whose manifest says how the program is started.
pub(super) fn packed(folder: &Path) -> anyhow::Result<Bytes> {
    Ok(bundle::pack(folder, Bounds::default())?.bytes)
}

/// The folder that was packed in an archive, by whatever tool; it goes away by drop.
pub(super) fn unpacked(archive: &Path) -> anyhow::Result<TempDir> {
    let unreadable = || format!("{} cannot be read", archive.display());
    let bounds = Bounds::default();
    let size = fs::metadata(archive).with_context(unreadable)?.len();
    ensure!(
        size <= bounds.packed_max_bytes,
        "{} has {size} bytes, and a bundle has at most {}",
        archive.display(),
        bounds.packed_max_bytes
    );
    let bytes = fs::read(archive).with_context(unreadable)?;
    let folder = tempfile::Builder::new().prefix("usher-zip-").tempdir()?;
    let unpacked = bundle::unpack(&bytes, folder.path(), bounds);
    unpacked.with_context(|| archive.display().to_string())?;
    Ok(folder)
}

fn recognised(name: Name, packed: Packed, shape: Shape) -> Source {
    Source {
        name,
        artifact: packed.bytes,
        settings: Settings {
            process: Some(shape.process),
            ..Settings::default()
        },
        recognised: Some(shape.what),
    }
}

fn files(packed: &Packed, head: impl Fn(&str) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Files> {
    let mut files = Files::default();
    for member in &packed.members {
        let path = member.path.as_str();
        match &member.kind {
            MemberKind::Folder => {}
            MemberKind::File { executable, .. } => {
                let wanted = Files::wants_head(path);
                let head = if wanted { head(path)? } else { Vec::new() };
                files.add(path, *executable, head);
            }
            // A link in the folder is as good as what it leads to.
            MemberKind::Link(_) if Files::wants_head(path) => {
                files.add(path, false, head(path).unwrap_or_default());
            }
            MemberKind::Link(_) => files.add(path, false, Vec::new()),
        }
    }
    Ok(files)
}

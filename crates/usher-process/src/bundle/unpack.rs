//! A judged archive becomes files in a new folder.
//!
//! Links are written last, so that no file could be written through one even if the judgement were
//! wrong. Only read, write and execute are kept of a mode, and everybody may read: the program runs
//! as another user than the platform.
//!
//! Deliberately absent: waiting for the disk; see `store`.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::survey::{Archive, Item, survey};
use super::{Bounds, BundleError};

const MODE_FOLDER: u32 = 0o755;
const MODE_FILE: u32 = 0o644;
const MODE_PROGRAM: u32 = 0o755;

/// Unpacks an archive into a folder that is there, empty, and nobody else's. Blocks. What fails
/// half way leaves files in the folder; [`super::Bundles`] does not.
pub fn unpack(bytes: &[u8], into: &Path, bounds: Bounds) -> Result<(), BundleError> {
    let (mut archive, plan) = survey(bytes, bounds)?;
    let failed = |at: &str| {
        let at = at.to_owned();
        |source| BundleError::Io { at, source }
    };
    for (name, item) in &plan {
        let path = into.join(name);
        match item {
            Item::Folder => folder(&path).map_err(failed(name))?,
            Item::File {
                index,
                bytes,
                executable,
            } => {
                let file = file(&path, *executable).map_err(failed(name))?;
                fill(&mut archive, *index, name, *bytes, file)?;
            }
            Item::Link(_) => {}
        }
    }
    for (name, item) in &plan {
        if let Item::Link(target) = item {
            symlink(target, into.join(name)).map_err(failed(name))?;
        }
    }
    allow(into, MODE_FOLDER).map_err(failed("its folder"))
}

fn folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    allow(path, MODE_FOLDER)
}

fn file(path: &Path, executable: bool) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mode = if executable { MODE_PROGRAM } else { MODE_FILE };
    // The mode that a file is made with is cut by the mask of the process.
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

fn allow(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Writes an entry's bytes, exactly as many as declared; the reader compares their checksum.
fn fill(
    archive: &mut Archive<'_>,
    index: usize,
    name: &str,
    declared: u64,
    mut file: File,
) -> Result<(), BundleError> {
    let mut entry = archive.by_index(index)?.take(declared.saturating_add(1));
    let mut buffer = vec![0; 64 << 10];
    let mut written = 0_u64;
    loop {
        let read = entry.read(&mut buffer);
        let read = read.map_err(|error| BundleError::Damaged(format!("{name}: {error}")))?;
        if read == 0 {
            break;
        }
        written += read as u64;
        if written > declared {
            break;
        }
        io::Write::write_all(&mut file, &buffer[..read]).map_err(|source| BundleError::Io {
            at: name.to_owned(),
            source,
        })?;
    }
    match written == declared {
        true => Ok(()),
        false => Err(BundleError::Lies {
            name: name.to_owned(),
            declared,
        }),
    }
}

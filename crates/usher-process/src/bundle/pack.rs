//! A folder becomes a bundle: always the same bytes for the same files.
//!
//! Names are sorted, times are fixed, and of a mode only "may be run" is kept. What tools leave
//! behind (`.git`, `__pycache__` …) is left out, and what `.usherignore` names, line by line in the
//! words of a `.gitignore`.
//!
//! Links are packed as links. One that leads out of the folder is an error, since what it leads to
//! would be missing; only the interpreter of a Python virtual environment, which is such a link, is
//! left out without a word, because what is told to run it (`usher_api::shape`) has another one.
//!
//! Deliberately absent: sending it anywhere.

mod walk;

use std::fs::{self, File};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::Bounds;
use super::name::{checked, shown};
use super::tail;

/// The file that says what of a folder is not packed.
pub const IGNORE_FILE: &str = ".usherignore";

/// A packed folder.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The bundle.
    pub bytes: Bytes,
    /// What is in it, by path.
    pub members: Vec<Member>,
    /// All files together, in bytes.
    pub unpacked_bytes: u64,
}

/// Something in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its path from the root of the bundle, with slashes.
    pub path: String,
    /// What it is.
    pub kind: MemberKind,
}

/// What a member of a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its size, in bytes.
        bytes: u64,
        /// Whether it may be run.
        executable: bool,
    },
    /// A symbolic link, by its target.
    Link(String),
}

/// Why a folder was not packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Something cannot be read.
    #[error("{} cannot be read", at.display())]
    Io {
        /// What.
        at: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A line of `.usherignore` is wrong.
    #[error("{IGNORE_FILE} is wrong: {0}")]
    Ignore(String),
    /// A link leads out of the folder.
    #[error(
        "{path} is a link to {target}, and what it leads to would not be shipped ({why}); put a \
         copy in its place, or name it in {IGNORE_FILE}"
    )]
    Link {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name cannot stand in a bundle.
    #[error("{path} cannot be shipped: {why}; rename it, or name it in {IGNORE_FILE}")]
    Name {
        /// The path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// There are too many files.
    #[error(
        "there are more than {entries_max} files and folders; leave out what the function does not \
         need, by {IGNORE_FILE}"
    )]
    TooMany {
        /// How many there may be.
        entries_max: usize,
    },
    /// The files are too large.
    #[error(
        "{what} {bytes} bytes, and may have {bytes_max}; leave out what the function does not \
         need, by {IGNORE_FILE}; the largest: {largest}"
    )]
    TooLarge {
        /// What is too large: all files together, or the bundle.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// What it may be.
        bytes_max: u64,
        /// The largest files, with their sizes.
        largest: String,
    },
    /// There is nothing in the folder.
    #[error("there is nothing to ship in {}", .0.display())]
    Empty(PathBuf),
    /// The archive could not be written.
    #[error("the bundle could not be written")]
    Archive(#[source] ZipError),
}

/// Packs a folder. Blocks.
pub fn pack(folder: &Path, bounds: Bounds) -> Result<Packed, PackError> {
    let members = walk::members(folder, bounds)?;
    if members.is_empty() {
        return Err(PackError::Empty(folder.to_owned()));
    }
    written(members, |path| folder.join(path), bounds)
}

/// Packs one file, alone. Blocks.
pub fn pack_file(file: &Path, bounds: Bounds) -> Result<Packed, PackError> {
    let unreadable = |source| PackError::Io {
        at: file.to_owned(),
        source,
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let path = checked(&name).map_err(|error| PackError::Name {
        path: shown(&name),
        why: error.to_string(),
    })?;
    let about = fs::metadata(file).map_err(unreadable)?;
    let kind = walk::file_kind(&about);
    written(vec![Member { path, kind }], |_| file.to_owned(), bounds)
}

fn written(
    members: Vec<Member>,
    at: impl Fn(&str) -> PathBuf,
    bounds: Bounds,
) -> Result<Packed, PackError> {
    let size = |member: &Member| match member.kind {
        MemberKind::File { bytes, .. } => bytes,
        MemberKind::Folder | MemberKind::Link(_) => 0,
    };
    let unpacked_bytes = members.iter().map(size).sum();
    let too_large = |what, bytes, bytes_max| PackError::TooLarge {
        what,
        bytes,
        bytes_max,
        largest: largest(&members),
    };
    if unpacked_bytes > bounds.unpacked_max_bytes {
        let bytes_max = bounds.unpacked_max_bytes;
        return Err(too_large(
            "all files together have",
            unpacked_bytes,
            bytes_max,
        ));
    }
    let archive = archive(&members, at)?;
    let packed = archive.len() as u64;
    if packed > bounds.packed_max_bytes {
        return Err(too_large("the bundle has", packed, bounds.packed_max_bytes));
    }
    debug_assert!(tail::entries(&archive, bounds).is_ok());
    Ok(Packed {
        bytes: archive.into(),
        members,
        unpacked_bytes,
    })
}

fn archive(members: &[Member], at: impl Fn(&str) -> PathBuf) -> Result<Vec<u8>, PackError> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    for Member { path, kind } in members {
        match kind {
            MemberKind::Folder => archive.add_directory(path, options.unix_permissions(0o755)),
            MemberKind::Link(target) => archive.add_symlink(path, target, options),
            MemberKind::File { executable, .. } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let begun = archive.start_file(path, options.unix_permissions(mode));
                begun.map_err(PackError::Archive)?;
                let from = at(path);
                let copied =
                    File::open(&from).and_then(|mut file| io::copy(&mut file, &mut archive));
                copied.map_err(|source| PackError::Io { at: from, source })?;
                Ok(())
            }
        }
        .map_err(PackError::Archive)?;
    }
    let cursor = archive.finish().map_err(PackError::Archive)?;
    Ok(cursor.into_inner())
}

/// The names of the largest files, for a person who has to leave something out.
fn largest(members: &[Member]) -> String {
    const SHOWN_MAX: usize = 5;
    let sized = members.iter().filter_map(|member| match member.kind {
        MemberKind::File { bytes, .. } => Some((bytes, member.path.as_str())),
        _ => None,
    });
    let mut sized: Vec<_> = sized.collect();
    sized.sort_unstable_by(|one, other| other.cmp(one));
    let shown = sized.iter().take(SHOWN_MAX);
    let words: Vec<_> = shown
        .map(|(bytes, path)| format!("{path} ({bytes})"))
        .collect();
    words.join(", ")
}

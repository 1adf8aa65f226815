//! A bundle: the folder of a Linux program, packed as one zip archive, which is its artifact.
//!
//! ```text
//! folder ─pack→ archive ─stored, sent→ archive ─survey→ Plan ─write→ new folder ─rename→ Folder
//!                                           └ refused, and nothing was written
//! ```
//!
//! An archive comes from anybody. All of it is judged before the first byte is written: how many
//! entries, how large, which names, which links. What is written goes into a new folder that gets
//! its own name when it is whole, so that a kill at any time leaves only what the next start
//! removes.
//!
//! Deliberately absent: what the program is and how it is started (`usher_api::shape`), and
//! archives of more than 4 GiB (zip64), encryption, and compression other than deflate.

mod name;
mod pack;
mod store;
mod survey;
mod tail;
mod unpack;

use std::io;

use usher_core::fault::Blame;
use zip::result::ZipError;

pub use pack::{IGNORE_FILE, Member, MemberKind, PackError, Packed, pack, pack_file};
pub use store::{Bundles, Folder, OpenError};
pub use unpack::unpack;

/// What a bundle may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The archive, in bytes.
    pub packed_max_bytes: u64,
    /// All files together when unpacked, in bytes.
    pub unpacked_max_bytes: u64,
    /// Files, links and folders, those that only stand in the path of another one included.
    pub entries_max: usize,
    /// Bytes that come out for each byte that went in.
    pub ratio_max: u64,
    /// Up to this size when unpacked the ratio does not matter, in bytes.
    pub ratio_free_max_bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            packed_max_bytes: 256 << 20,
            unpacked_max_bytes: 1 << 30,
            entries_max: 20_000,
            ratio_max: 100,
            ratio_free_max_bytes: 64 << 20,
        }
    }
}

/// Why an archive was not unpacked. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is no archive, or a damaged one.
    #[error("the bundle is no zip archive, or a damaged one: {0}")]
    Damaged(String),
    /// It cannot be read as one archive only.
    #[error("the bundle is refused, as it can be read in two ways: {0}")]
    Ambiguous(String),
    /// It has the form for archives of more than 4 GiB.
    #[error(
        "the bundle is a zip64 archive, which none of this size has to be; pack it with another \
         tool, or let usher pack the folder"
    )]
    Zip64,
    /// There are too many entries.
    #[error(
        "the bundle has {entries} entries, the folders in their paths included, and may have \
         {entries_max}"
    )]
    TooMany {
        /// How many there are, or are said to be.
        entries: usize,
        /// How many there may be.
        entries_max: usize,
    },
    /// The archive itself is too large.
    #[error("the bundle has {bytes} bytes, and may have {bytes_max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// What it may be.
        bytes_max: u64,
    },
    /// It unpacks to too much.
    #[error("the bundle unpacks to {bytes} bytes, and may unpack to {bytes_max}")]
    Bomb {
        /// What the entries say.
        bytes: u64,
        /// What they may say.
        bytes_max: u64,
    },
    /// An entry's size is not the one that is declared.
    #[error("{name} in the bundle is declared with {declared} bytes and unpacks to another size")]
    Lies {
        /// The entry.
        name: String,
        /// What is declared.
        declared: u64,
    },
    /// A name is refused.
    #[error("{name:?} in the bundle is refused: {why}")]
    Name {
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A link is refused.
    #[error("{name} in the bundle is a link to {target:?}, and is refused: {why}")]
    Link {
        /// The link.
        name: String,
        /// Where it leads, shortened.
        target: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry is of a kind that programs have no use for.
    #[error("{name} in the bundle is refused: it is {what}")]
    Kind {
        /// The entry.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// Two entries cannot be there at the same time.
    #[error("{name} stands in the bundle twice, or as a file and as a folder")]
    Collision {
        /// The name of both.
        name: String,
    },
    /// The disk failed or is full.
    #[error("the bundle could not be unpacked at {at}")]
    Io {
        /// What was written.
        at: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The task that unpacked it has failed.
    #[error("the bundle could not be unpacked: {0}")]
    Failed(String),
}

impl BundleError {
    /// Whose fault it is.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::Io { .. } | Self::Failed(_) => Blame::Platform,
            _ => Blame::Function,
        }
    }
}

impl From<ZipError> for BundleError {
    fn from(error: ZipError) -> Self {
        Self::Damaged(error.to_string())
    }
}

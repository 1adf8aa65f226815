//! The frames of the archive around what it holds.
//!
//! Deliberately absent: the bytes themselves, which whoever takes the back-up sends between.

use bytes::Bytes;
use tar::{EntryType, Header};

use super::Contents;

/// The unit of an archive, in bytes.
const BLOCK_BYTES: u64 = 512;

/// What stands behind the last member.
pub const END: [u8; 1_024] = [0; 1_024];

/// What stands before a member: its name, which has at most 100 bytes, its size, and that only its
/// owner may read it.
pub fn header(name: &str, bytes: u64, taken_us: u64) -> Bytes {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    // Digests and names of files are shorter than what a header takes.
    let _fits = header.set_path(name);
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(taken_us / 1_000_000);
    header.set_cksum();
    Bytes::copy_from_slice(header.as_bytes())
}

/// What stands behind a member of that size.
pub fn padding(bytes: u64) -> Bytes {
    Bytes::from_static(&END[..usize::try_from(padding_bytes(bytes)).unwrap_or(0)])
}

/// The size of a whole archive whose contents, as JSON, have `contents_bytes`.
pub fn total_bytes(contents: &Contents, contents_bytes: u64) -> u64 {
    let blobs = contents.blobs.iter().map(|blob| blob.bytes);
    let files = contents.files.iter().map(|file| file.part.bytes);
    let lists = [contents.buckets.part.bytes, contents.entries.part.bytes];
    let parts = blobs.chain(files).chain(lists).chain([contents_bytes]);
    parts.fold(END.len() as u64, |total, bytes| {
        total + BLOCK_BYTES + bytes + padding_bytes(bytes)
    })
}

pub(super) fn padding_bytes(bytes: u64) -> u64 {
    (BLOCK_BYTES - bytes % BLOCK_BYTES) % BLOCK_BYTES
}

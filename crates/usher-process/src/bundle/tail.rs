//! The end of an archive, read strictly before anything else: it says how many entries there are.
//!
//! ```text
//! … | central directory | end record (22 bytes) | comment
//!                       ▲ the directory ends here, and the comment ends the archive
//! ```
//!
//! Readers of archives differ in where they look for this record and in how much they forgive.
//! Here there is one way only: the last record, and it fits everything or the archive is refused.
//! Layout: APPNOTE.TXT 6.3.10, 4.3.16.
//!
//! Deliberately absent: the entries.

use super::{Bounds, BundleError};

const MAGIC: [u8; 4] = *b"PK\x05\x06";
const MAGIC_DIRECTORY: [u8; 4] = *b"PK\x01\x02";
const MAGIC_ZIP64_LOCATOR: [u8; 4] = *b"PK\x06\x07";
const RECORD_BYTES: usize = 22;
const LOCATOR_BYTES: usize = 20;
const COMMENT_MAX_BYTES: usize = u16::MAX as usize;
/// What an entry takes in the directory at least.
const DIRECTORY_ENTRY_MIN_BYTES: usize = 46;

/// How many entries an archive has, where its end is in order.
pub(super) fn entries(archive: &[u8], bounds: Bounds) -> Result<usize, BundleError> {
    let size = archive.len() as u64;
    if size > bounds.packed_max_bytes {
        return Err(BundleError::TooLarge {
            bytes: size,
            bytes_max: bounds.packed_max_bytes,
        });
    }
    let record_at = find(archive)?;
    let record = &archive[record_at..record_at + RECORD_BYTES];
    let half = |at: usize| usize::from(u16::from_le_bytes([record[at], record[at + 1]]));
    let word = |at: usize| {
        let bytes = [record[at], record[at + 1], record[at + 2], record[at + 3]];
        u32::from_le_bytes(bytes)
    };
    let (disks, here, entries) = (half(4) + half(6), half(8), half(10));
    let (directory_bytes, directory_at) = (word(12), word(16));
    let locator = record_at.checked_sub(LOCATOR_BYTES);
    let has_locator = locator.is_some_and(|at| archive[at..].starts_with(&MAGIC_ZIP64_LOCATOR));
    if has_locator || directory_bytes == u32::MAX || directory_at == u32::MAX {
        return Err(BundleError::Zip64);
    }
    if entries > bounds.entries_max {
        return Err(BundleError::TooMany {
            entries,
            entries_max: bounds.entries_max,
        });
    }
    if disks != 0 || here != entries {
        return Err(BundleError::Damaged("it is a part of several".to_owned()));
    }
    // Equal, so that nothing stands before the archive or between directory and record.
    if u64::from(directory_at) + u64::from(directory_bytes) != record_at as u64 {
        return Err(BundleError::Ambiguous(
            "its directory is not where its end record says".to_owned(),
        ));
    }
    if (directory_bytes as usize) < entries * DIRECTORY_ENTRY_MIN_BYTES {
        return Err(BundleError::Damaged(format!(
            "its directory is too short for {entries} entries"
        )));
    }
    let directory = &archive[directory_at as usize..record_at];
    if entries > 0 && !directory.starts_with(&MAGIC_DIRECTORY) {
        return Err(BundleError::Damaged(
            "its directory has no beginning".to_owned(),
        ));
    }
    Ok(entries)
}

/// Where the last end record stands: it must end the archive.
fn find(archive: &[u8]) -> Result<usize, BundleError> {
    let last = archive.len().checked_sub(RECORD_BYTES);
    let last = last.ok_or_else(|| BundleError::Damaged("it is too short".to_owned()))?;
    let first = last.saturating_sub(COMMENT_MAX_BYTES);
    let found = (first..=last).rfind(|at| archive[*at..].starts_with(&MAGIC));
    let at = found.ok_or_else(|| BundleError::Damaged("it has no end record".to_owned()))?;
    let comment = u16::from_le_bytes([archive[at + 20], archive[at + 21]]);
    match at + RECORD_BYTES + usize::from(comment) == archive.len() {
        true => Ok(at),
        false => Err(BundleError::Ambiguous(
            "its end record does not end it".to_owned(),
        )),
    }
}

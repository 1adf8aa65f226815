//! Archives made by hand, so that they can lie.

use std::io::Write;

use flate2::Crc;
use flate2::write::DeflateEncoder;

/// One entry, as a local header with bytes and as a line of the directory.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    /// As they stand in the archive.
    pub(crate) stored: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) size: u32,
    pub(crate) crc: u32,
    /// Unix mode, the kind included.
    pub(crate) mode: u32,
    /// In the place of where the local header stands.
    pub(crate) header_at: Option<u32>,
}

pub(crate) const FILE: u32 = 0o100_644;
pub(crate) const PROGRAM: u32 = 0o100_755;
pub(crate) const FOLDER: u32 = 0o040_755;
pub(crate) const LINK: u32 = 0o120_777;

/// A file that is stored as it is.
pub(crate) fn file(name: &str, bytes: &[u8]) -> Entry {
    Entry {
        name: name.as_bytes().to_vec(),
        stored: bytes.to_vec(),
        method: 0,
        // Names are UTF-8.
        flags: 1 << 11,
        size: u32::try_from(bytes.len()).unwrap(),
        crc: crc(bytes),
        mode: FILE,
        header_at: None,
    }
}

pub(crate) fn with_mode(name: &str, bytes: &[u8], mode: u32) -> Entry {
    Entry {
        mode,
        ..file(name, bytes)
    }
}

pub(crate) fn link(name: &str, target: &str) -> Entry {
    with_mode(name, target.as_bytes(), LINK)
}

/// A file that is compressed.
pub(crate) fn deflated(name: &str, bytes: &[u8]) -> Entry {
    let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    Entry {
        stored: encoder.finish().unwrap(),
        method: 8,
        ..file(name, bytes)
    }
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// The fields that the local header and the directory have in common.
fn common(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(20_u16.to_le_bytes());
    out.extend(entry.flags.to_le_bytes());
    out.extend(entry.method.to_le_bytes());
    // Midnight of 1 January 1980.
    out.extend([0, 0, 0x21, 0]);
    out.extend(entry.crc.to_le_bytes());
    out.extend(u32::try_from(entry.stored.len()).unwrap().to_le_bytes());
    out.extend(entry.size.to_le_bytes());
    out.extend(u16::try_from(entry.name.len()).unwrap().to_le_bytes());
    out.extend(0_u16.to_le_bytes());
    out
}

/// The archive of these entries.
pub(crate) fn forge(entries: &[Entry]) -> Vec<u8> {
    forge_with(entries, u16::try_from(entries.len()).unwrap(), b"")
}

/// The archive of these entries, with a number of entries and a comment in its end record.
pub(crate) fn forge_with(entries: &[Entry], count: u16, comment: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let at = u32::try_from(out.len()).unwrap();
        out.extend(b"PK\x03\x04");
        out.extend(common(entry));
        out.extend(&entry.name);
        out.extend(&entry.stored);
        directory.extend(b"PK\x01\x02");
        // Made by Unix.
        directory.extend([20, 3]);
        directory.extend(common(entry));
        // No comment, the first disk, no internal attributes.
        directory.extend([0; 6]);
        directory.extend((entry.mode << 16).to_le_bytes());
        directory.extend(entry.header_at.unwrap_or(at).to_le_bytes());
        directory.extend(&entry.name);
    }
    let at = u32::try_from(out.len()).unwrap();
    out.extend(&directory);
    out.extend(end(
        count,
        u32::try_from(directory.len()).unwrap(),
        at,
        comment,
    ));
    out
}

/// An end record.
pub(crate) fn end(count: u16, directory_bytes: u32, directory_at: u32, comment: &[u8]) -> Vec<u8> {
    let mut out = b"PK\x05\x06\0\0\0\0".to_vec();
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(directory_bytes.to_le_bytes());
    out.extend(directory_at.to_le_bytes());
    out.extend(u16::try_from(comment.len()).unwrap().to_le_bytes());
    out.extend(comment);
    out
}

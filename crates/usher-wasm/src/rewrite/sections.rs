//! Sections as raw bytes: taking a binary apart, and putting it together with entries added.
//!
//! A component and a core module share the frame: eight bytes, then sections of one byte of
//! identity, a length and the contents. Nothing is decoded and encoded again, so what was not
//! added is the input's, byte for byte. Deliberately absent: what a section means.

use wasm_encoder::Encode;
use wasmparser::{BinaryReader, BinaryReaderError};

/// Magic, version and layer.
pub(super) const HEADER_BYTES: usize = 8;

/// One section as it stands in the binary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    pub(super) id: u8,
    pub(super) body: &'a [u8],
}

impl<'a> Section<'a> {
    /// A reader of the contents.
    pub(super) fn reader(&self) -> BinaryReader<'a> {
        BinaryReader::new(self.body, 0)
    }
}

/// The sections of a module or a component, in order.
pub(super) fn split(binary: &[u8]) -> Result<Vec<Section<'_>>, BinaryReaderError> {
    let mut reader = BinaryReader::new(binary, 0);
    reader.read_bytes(HEADER_BYTES)?;
    let mut sections = Vec::new();
    while !reader.eof() {
        let id = reader.read_u8()?;
        let length = reader.read_var_u32()?;
        let body = reader.read_bytes(length as usize)?;
        sections.push(Section { id, body });
    }
    Ok(sections)
}

/// Writes one section.
pub(super) fn push(binary: &mut Vec<u8>, id: u8, body: &[u8]) {
    binary.push(id);
    body.encode(binary);
}

/// Entries to be added at the end of one section: how many, and their encoding.
#[derive(Debug, Default)]
pub(super) struct Entries {
    count: u32,
    bytes: Vec<u8>,
}

impl Entries {
    /// Adds one entry.
    pub(super) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.count += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The contents of a section with these entries behind those of `body`, if there is one.
    pub(super) fn behind(&self, body: Option<&[u8]>) -> Result<Vec<u8>, BinaryReaderError> {
        let mut old = BinaryReader::new(body.unwrap_or(&[0]), 0);
        let count = old.read_var_u32()?;
        let mut joined = Vec::with_capacity(old.bytes_remaining() + self.bytes.len() + 5);
        (count + self.count).encode(&mut joined);
        joined.extend_from_slice(old.read_bytes(old.bytes_remaining())?);
        joined.extend_from_slice(&self.bytes);
        Ok(joined)
    }
}

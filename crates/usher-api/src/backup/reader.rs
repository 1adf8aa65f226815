//! Reading a back-up as it streams in, member by member, each of which must be the one that the
//! contents tell.
//!
//! ```text
//!   open ─contents─► begin ─► piece … none ─► begin ─► … ─► end
//! ```
//!
//! It holds one piece of the source at a time, whatever the size of a member is.
//!
//! Deliberately absent: what is done with the bytes. The digest of a member that is read by pieces
//! is compared by whoever reads it.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};
use usher_core::id::Digest;

use super::writer::padding_bytes;
use super::{CONTENTS, CONTENTS_MAX_BYTES, Contents, FORMAT, Part};

/// The size of a header, in bytes.
const HEADER_BYTES: usize = 512;

/// Why a back-up cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed.
    #[error("the back-up cannot be read")]
    Source(#[source] io::Error),
    /// It ends too early.
    #[error(
        "the back-up ends within {place}: it was cut off; take it again, or find the whole file"
    )]
    CutOff {
        /// Where.
        place: String,
    },
    /// It is no back-up, or one that was changed.
    #[error("this is no back-up of Usher, or it was changed: {what}")]
    Strange {
        /// What is wrong.
        what: String,
    },
    /// A later Usher wrote it.
    #[error("the back-up has format {found}, this Usher reads {FORMAT}: use a newer one")]
    NewerFormat {
        /// The format it has.
        found: u32,
    },
}

/// Reads a back-up from pieces of bytes.
pub struct Reader<S> {
    source: S,
    held: BytesMut,
    /// Of the member that is being read.
    name: String,
    left: u64,
    padding: u64,
}

/// How many of a contents' first fields have to be read to know its format.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

impl<S: Stream<Item = io::Result<Bytes>> + Unpin> Reader<S> {
    /// Reads the contents.
    ///
    /// # Errors
    /// If it is no back-up, or one that only a newer Usher reads.
    pub async fn open(source: S) -> Result<(Self, Contents), ReadError> {
        let mut reader = Self {
            source,
            held: BytesMut::new(),
            name: "its beginning".to_owned(),
            left: 0,
            padding: 0,
        };
        let bytes = reader.header(CONTENTS).await?;
        if bytes > CONTENTS_MAX_BYTES {
            return Err(strange(format!("its contents have {bytes} bytes")));
        }
        let json = reader.rest().await?;
        let unread = |error: serde_json::Error| strange(format!("its contents: {error}"));
        let Format { format: found } = serde_json::from_slice(&json).map_err(unread)?;
        if found > FORMAT {
            return Err(ReadError::NewerFormat { found });
        }
        let contents = serde_json::from_slice(&json).map_err(unread)?;
        Ok((reader, contents))
    }

    /// Begins the next member, which must have this name and size.
    ///
    /// # Errors
    /// If it has not, or the one before was not read to its end.
    pub async fn begin(&mut self, name: &str, bytes: u64) -> Result<(), ReadError> {
        let found = self.header(name).await?;
        match found == bytes {
            true => Ok(()),
            false => Err(strange(format!(
                "{name} has {found} bytes, its contents tell {bytes}"
            ))),
        }
    }

    /// The next piece of the member that was begun; none at its end.
    ///
    /// # Errors
    /// If the back-up ends before.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.left == 0 {
            let padding = std::mem::take(&mut self.padding);
            self.skip(padding).await?;
            return Ok(None);
        }
        if self.held.is_empty() {
            self.fill().await?;
        }
        let bytes = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = bytes.min(self.held.len());
        self.left -= bytes as u64;
        Ok(Some(self.held.split_to(bytes).freeze()))
    }

    /// A whole member, which must be what the contents tell.
    ///
    /// # Errors
    /// If it is not, or is larger than `max_bytes`.
    pub async fn whole(
        &mut self,
        name: &str,
        part: Part,
        max_bytes: u64,
    ) -> Result<Vec<u8>, ReadError> {
        if part.bytes > max_bytes {
            let Part { bytes, .. } = part;
            return Err(strange(format!(
                "{name} has {bytes} bytes, at most {max_bytes} are read"
            )));
        }
        self.begin(name, part.bytes).await?;
        let bytes = self.rest().await?;
        match Digest(Sha256::digest(&bytes).into()) == part.digest {
            true => Ok(bytes),
            false => Err(strange(format!("the bytes of {name} have another digest"))),
        }
    }

    async fn rest(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// The size of the next member, if it has this name.
    async fn header(&mut self, wanted: &str) -> Result<u64, ReadError> {
        if self.left > 0 || self.padding > 0 {
            return Err(strange(format!("{} was not read to its end", self.name)));
        }
        while self.held.len() < HEADER_BYTES {
            self.fill().await?;
        }
        let block = self.held.split_to(HEADER_BYTES);
        let header = Header::from_byte_slice(&block);
        let cause = |error: io::Error| strange(format!("the header before {wanted}: {error}"));
        let sum = block.iter().enumerate().map(|(at, byte)| match at {
            // The checksum counts as spaces in itself.
            148..156 => u32::from(b' '),
            _ => u32::from(*byte),
        });
        let path = header.path_bytes();
        let sound = header.cksum().map_err(cause)? == sum.sum::<u32>()
            && header.entry_type() == EntryType::Regular;
        if !sound || *path != *wanted.as_bytes() {
            let found = String::from_utf8_lossy(&path).into_owned();
            return Err(strange(format!(
                "{wanted} is expected where {found:?} stands"
            )));
        }
        let bytes = header.entry_size().map_err(cause)?;
        self.name = wanted.to_owned();
        self.left = bytes;
        self.padding = padding_bytes(bytes);
        Ok(bytes)
    }

    async fn skip(&mut self, mut bytes: u64) -> Result<(), ReadError> {
        while bytes > 0 {
            if self.held.is_empty() {
                self.fill().await?;
            }
            let now = usize::try_from(bytes).unwrap_or(usize::MAX);
            let now = now.min(self.held.len());
            self.held.advance(now);
            bytes -= now as u64;
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), ReadError> {
        match self.source.next().await {
            Some(Ok(piece)) => {
                self.held.extend_from_slice(&piece);
                Ok(())
            }
            Some(Err(error)) => Err(ReadError::Source(error)),
            None => Err(ReadError::CutOff {
                place: self.name.clone(),
            }),
        }
    }
}

fn strange(what: String) -> ReadError {
    ReadError::Strange { what }
}

//! What is written is read, and nothing else is.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sha2::{Digest as _, Sha256};
use usher_core::id::Digest;

use super::*;

const BLOBS: [&[u8]; 3] = [b"", b"a component", &[7; 1_024]];
const FILE: &[u8] = b"a key";
const LIST: &[u8] = b"{\"key\":\"a\",\"value\":\"\"}\n";

fn part(bytes: &[u8]) -> Part {
    Part {
        digest: Digest(Sha256::digest(bytes).into()),
        bytes: bytes.len() as u64,
    }
}

fn contents(format: u32) -> Contents {
    Contents {
        format,
        usher: "0.0.0".to_owned(),
        taken_us: 1_000_000,
        revision: 9,
        blobs: BLOBS.map(part).to_vec(),
        files: vec![NamedPart {
            name: "keys/one".to_owned(),
            part: part(FILE),
        }],
        buckets: List {
            count: 0,
            part: part(b""),
        },
        entries: List {
            count: 1,
            part: part(LIST),
        },
    }
}

fn archive(contents: &Contents) -> Vec<u8> {
    let head = serde_json::to_vec(contents).unwrap();
    let mut archive = Vec::new();
    let mut member = |name: &str, bytes: &[u8]| {
        archive.extend_from_slice(&header(name, bytes.len() as u64, contents.taken_us));
        archive.extend_from_slice(bytes);
        archive.extend_from_slice(&padding(bytes.len() as u64));
    };
    member(CONTENTS, &head);
    for bytes in BLOBS {
        member(&blob_name(&part(bytes).digest), bytes);
    }
    member(&file_name("keys/one"), FILE);
    member(BUCKETS, b"");
    member(ENTRIES, LIST);
    archive.extend_from_slice(&END);
    let expected = total_bytes(contents, head.len() as u64);
    assert_eq!(archive.len() as u64, expected);
    archive
}

fn source(bytes: &[u8], piece_bytes: usize) -> BoxStream<'static, io::Result<Bytes>> {
    let pieces = bytes.chunks(piece_bytes);
    let pieces: Vec<_> = pieces
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    stream::iter(pieces).boxed()
}

async fn read(bytes: &[u8], piece_bytes: usize) -> Result<Contents, ReadError> {
    let (mut reader, contents) = Reader::open(source(bytes, piece_bytes)).await?;
    for blob in &contents.blobs {
        let name = blob_name(&blob.digest);
        reader.whole(&name, *blob, u64::MAX).await?;
    }
    for file in &contents.files {
        let name = file_name(&file.name);
        reader.whole(&name, file.part, FILE_MAX_BYTES).await?;
    }
    for (name, list) in [(BUCKETS, contents.buckets), (ENTRIES, contents.entries)] {
        reader.whole(name, list.part, ENTRIES_MAX_BYTES).await?;
    }
    Ok(contents)
}

#[tokio::test]
async fn what_is_written_is_read_however_it_is_cut_into_pieces() {
    let contents = contents(FORMAT);
    let archive = archive(&contents);
    for piece_bytes in [1, 7, 511, 512, 513, 1 << 20] {
        assert_eq!(read(&archive, piece_bytes).await.unwrap(), contents);
    }
}

#[tokio::test]
async fn one_that_was_cut_off_anywhere_is_refused() {
    let archive = archive(&contents(FORMAT));
    let whole = archive.len() - END.len();
    for length in 0..whole {
        let refused = read(&archive[..length], 4_096).await.unwrap_err();
        assert!(
            matches!(refused, ReadError::CutOff { .. }),
            "{length}: {refused}"
        );
    }
    assert!(read(&archive[..whole], 4_096).await.is_ok());
}

#[tokio::test]
async fn one_in_which_a_byte_that_means_something_was_changed_is_refused() {
    let contents = contents(FORMAT);
    let archive = archive(&contents);
    let mut passed = 0;
    for at in 0..archive.len() - END.len() {
        let mut changed = archive.clone();
        changed[at] ^= 1;
        match read(&changed, 4_096).await {
            Err(_) => {}
            Ok(read) => {
                // A digit of the time or of the version, or the padding.
                assert_eq!(read.blobs, contents.blobs);
                assert_eq!(read.entries.part, contents.entries.part);
                passed += 1;
            }
        }
    }
    assert!(passed < archive.len() / 2, "{passed} of {}", archive.len());
}

#[tokio::test]
async fn a_newer_format_is_told() {
    let refused = read(&archive(&contents(FORMAT + 1)), 512).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ReadError::NewerFormat { found } if found == FORMAT + 1));
}

#[tokio::test]
async fn members_must_come_in_their_order_and_be_read_to_their_end() {
    let archive = archive(&contents(FORMAT));
    let (mut reader, told) = Reader::open(source(&archive, 512)).await.unwrap();
    assert!(
        reader
            .begin(ENTRIES, told.entries.part.bytes)
            .await
            .is_err()
    );
    let (mut reader, told) = Reader::open(source(&archive, 512)).await.unwrap();
    for blob in &told.blobs[..2] {
        reader
            .begin(&blob_name(&blob.digest), blob.bytes)
            .await
            .unwrap();
        if blob.bytes == 0 {
            assert!(reader.piece().await.unwrap().is_none());
        }
    }
    let next = told.blobs[2];
    let unread = reader.begin(&blob_name(&next.digest), next.bytes).await;
    assert!(unread.unwrap_err().to_string().contains("to its end"));
}

#[test]
fn an_ordinary_program_reads_it() {
    let archive = archive(&contents(FORMAT));
    let mut archive = tar::Archive::new(archive.as_slice());
    let names = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        entry.path().unwrap().display().to_string()
    });
    let names: Vec<_> = names.collect();
    assert_eq!(names.first().map(String::as_str), Some(CONTENTS));
    assert_eq!(names.last().map(String::as_str), Some(ENTRIES));
    assert_eq!(names.len(), 4 + BLOBS.len());
}

//! Archives that mean harm: each is refused with words, and leaves nothing.

use std::path::Path;

use usher_process::bundle::{Bounds, BundleError, Bundles};

use super::forge::{self, Entry, FOLDER, PROGRAM, deflated, file, link, with_mode};
use super::stored::{self, tree};

/// Unpacks into a store of its own; the error and the proof that nothing is left.
pub(super) async fn refused(archive: Vec<u8>, bounds: Bounds) -> BundleError {
    let around = tempfile::tempdir().unwrap();
    let store = around.path().join("store");
    std::fs::write(around.path().join("canary"), "sings").unwrap();
    let bundles = Bundles::open(&store, bounds).unwrap();
    let before = tree(around.path());
    let unpacked = bundles.unpack(archive.into(), stored::DIGEST).await;
    let error = unpacked.expect_err("a hostile archive is refused");
    assert_eq!(tree(around.path()), before, "{error}");
    error
}

async fn told(entries: &[Entry]) -> String {
    let error = refused(forge::forge(entries), Bounds::default()).await;
    error.to_string()
}

#[tokio::test]
async fn names_that_lead_out_are_refused() {
    for (name, why) in [
        ("/etc/passwd", "begins at the root"),
        ("../../etc/passwd", "leads out of its folder"),
        ("a/../../b", "leads out of its folder"),
        ("a/..", "leads out of its folder"),
        ("..\\..\\b", "backslash"),
        ("a\0b", "zero byte"),
        ("a//b", "is empty"),
        ("", "is empty"),
    ] {
        let told = told(&[file("fine", b"x"), file(name, b"x")]).await;
        assert!(told.contains(why), "{name:?} was answered with {told}");
    }
    let deep = "a/".repeat(65) + "b";
    assert!(
        told(&[file(&deep, b"")])
            .await
            .contains("more than 64 parts")
    );
    let long = "a".repeat(256);
    assert!(
        told(&[file(&long, b"")])
            .await
            .contains("longer than 255 bytes")
    );
    let long = "a/".repeat(600);
    assert!(
        told(&[file(&long, b"")])
            .await
            .contains("longer than 1024 bytes")
    );
}

#[tokio::test]
async fn names_that_cannot_both_be_there_are_refused() {
    for entries in [
        [file("a", b"1"), file("a", b"2")],
        [file("a", b"1"), file("./a", b"2")],
        [file("a", b"1"), file("a/b", b"2")],
        [file("a/b", b"1"), file("a", b"2")],
        [link("a", "b"), file("a/b", b"2")],
        [file("a/b", b"2"), link("a", "b")],
        [with_mode("a/", b"", FOLDER), link("a", "b")],
    ] {
        let told = told(&entries).await;
        assert!(told.contains("twice"), "{told}");
    }
}

#[tokio::test]
async fn links_that_lead_out_are_refused() {
    for (name, target) in [
        ("a", "/etc/passwd"),
        ("a", ".."),
        ("d/a", "../../b"),
        ("a", "d/../../b"),
        ("a", ""),
        ("a", "b\0"),
    ] {
        let told = told(&[file("d/x", b""), link(name, target)]).await;
        assert!(
            told.contains("is a link to"),
            "{target:?} was answered with {told}"
        );
    }
    // Through another link, `..` does not lead where it seems to.
    let through = [
        file("d/e/x", b""),
        link("short", "d/e"),
        link("a", "short/../x"),
    ];
    assert!(told(&through).await.contains("through another link"));
    // The classic: a link, and then a file through it.
    let write = [link("a", "d"), file("d/x", b""), file("a/y", b"")];
    assert!(told(&write).await.contains("twice"));
    let long = "a".repeat(2_000);
    assert!(told(&[link("a", &long)]).await.contains("no path"));
}

#[tokio::test]
async fn kinds_that_no_program_needs_are_refused() {
    for (mode, what) in [
        (0o020_644, "device"),
        (0o060_644, "device"),
        (0o010_644, "pipe"),
        (0o140_644, "socket"),
    ] {
        let told = told(&[with_mode("a", b"", mode)]).await;
        assert!(told.contains(what), "{told}");
    }
    assert!(
        told(&[with_mode("a/", b"x", FOLDER)])
            .await
            .contains("bytes in it")
    );
    assert!(
        told(&[with_mode("a/", b"x", PROGRAM)])
            .await
            .contains("name of a folder")
    );
    let encrypted = Entry {
        flags: 1,
        ..file("a", b"x")
    };
    assert!(told(&[encrypted]).await.contains("encrypted"));
    let other = Entry {
        method: 12,
        ..file("a", b"x")
    };
    assert!(told(&[other]).await.contains("another method"));
}

#[tokio::test]
async fn bombs_are_refused() {
    let small = Bounds {
        unpacked_max_bytes: 1_000,
        ..Bounds::default()
    };
    // Told by what is declared.
    let bomb = forge::forge(&[deflated("a", &[0; 600]), deflated("b", &[0; 600])]);
    let error = refused(bomb, small).await;
    assert!(
        matches!(error, BundleError::Bomb { bytes: 1_200, .. }),
        "{error}"
    );
    // What is declared is a lie, in either direction.
    for declared in [10, 100_000] {
        let lie = Entry {
            size: declared,
            ..deflated("a", &[0; 50_000])
        };
        let error = refused(forge::forge(&[lie]), Bounds::default()).await;
        assert!(error.to_string().contains("declared"), "{error}");
    }
    // Far more comes out than went in.
    let dense = Bounds {
        ratio_free_max_bytes: 1_000,
        ..Bounds::default()
    };
    let error = refused(forge::forge(&[deflated("a", &[0; 1 << 20])]), dense).await;
    assert!(
        matches!(
            error,
            BundleError::Bomb {
                bytes: 1_048_576,
                ..
            }
        ),
        "{error}"
    );
    // Many entries have the same bytes.
    let shared: Vec<_> = (0..100)
        .map(|at| file(&format!("f{at:03}"), &[0; 100]))
        .collect();
    let shared: Vec<_> = (shared.into_iter())
        .map(|entry| Entry {
            header_at: Some(0),
            ..entry
        })
        .collect();
    let error = refused(forge::forge(&shared), Bounds::default()).await;
    assert!(matches!(error, BundleError::Ambiguous(_)), "{error}");
}

#[tokio::test]
async fn too_many_entries_are_refused_before_they_are_read() {
    // The record says a million in the words of zip64, and the most in its own.
    let mut many = vec![0; 1 << 20];
    many.extend(forge::end(u16::MAX, 1 << 20, 0, b""));
    let error = refused(many, Bounds::default()).await;
    assert!(
        matches!(
            error,
            BundleError::TooMany {
                entries: 65_535,
                ..
            }
        ),
        "{error}"
    );
    let mut zip64 = b"PK\x06\x07".to_vec();
    zip64.extend([0; 16]);
    zip64.extend(forge::end(u16::MAX, u32::MAX, u32::MAX, b""));
    let error = refused(zip64, Bounds::default()).await;
    assert!(matches!(error, BundleError::Zip64), "{error}");
    // Folders that only stand in paths count as well.
    let bounds = Bounds {
        entries_max: 10,
        ..Bounds::default()
    };
    let error = refused(forge::forge(&[file("a/b/c/d/e/f/g/h/i/j/k", b"")]), bounds).await;
    assert!(matches!(error, BundleError::TooMany { .. }), "{error}");
    let error = refused(
        vec![0; 100],
        Bounds {
            packed_max_bytes: 99,
            ..bounds
        },
    )
    .await;
    assert!(
        matches!(error, BundleError::TooLarge { bytes: 100, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_real_archive_of_a_million_entries_is_refused() {
    use zip::write::SimpleFileOptions;
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for at in 0..1_000_000 {
        archive.start_file(format!("{at}"), options).unwrap();
    }
    let archive = archive.finish().unwrap().into_inner();
    let error = refused(archive, Bounds::default()).await;
    assert!(matches!(error, BundleError::Zip64), "{error}");
}

#[tokio::test]
async fn an_archive_that_can_be_read_in_two_ways_is_refused() {
    let whole = forge::forge(&[file("a", b"x")]);
    let before = [b"#!/bin/sh\n".to_vec(), whole.clone()].concat();
    let behind = [whole.clone(), b"\0".to_vec()].concat();
    let nested = forge::forge_with(&[file("a", b"x")], 1, &forge::end(0, 0, 0, b""));
    for archive in [before, behind, nested] {
        let error = refused(archive, Bounds::default()).await;
        assert!(matches!(error, BundleError::Ambiguous(_)), "{error}");
    }
    // An archive in an archive is fine: only the last record counts.
    stored::unpacked(forge::forge(&[file("inner.zip", &whole)])).await;
    stored::unpacked(forge::forge_with(&[file("a", b"x")], 1, b"with love")).await;
}

#[tokio::test]
async fn a_damaged_archive_is_refused() {
    let whole = forge::forge(&[deflated("a", b"some bytes, some bytes"), file("b", b"x")]);
    for cut in 0..whole.len() {
        let error = refused(whole[..cut].to_vec(), Bounds::default()).await;
        assert_eq!(error.blame(), usher_core::fault::Blame::Function, "{error}");
    }
    let wrong = Entry {
        crc: 1,
        ..file("a", b"x")
    };
    assert!(told(&[wrong]).await.contains("a: "));
    for count in [0, 1, 3] {
        let entries = [file("a", b"x"), file("b", b"x")];
        let error = refused(forge::forge_with(&entries, count, b""), Bounds::default()).await;
        assert!(!error.to_string().is_empty());
    }
}

#[tokio::test]
async fn a_disk_that_fails_is_the_platforms_fault() {
    let around = tempfile::tempdir().unwrap();
    let bundles = Bundles::open(&around.path().join("store"), Bounds::default()).unwrap();
    std::fs::remove_dir_all(around.path().join("store")).unwrap();
    let archive = forge::forge(&[file("a", b"x")]);
    let error = bundles.unpack(archive.into(), stored::DIGEST).await;
    assert_eq!(
        error.unwrap_err().blame(),
        usher_core::fault::Blame::Platform
    );
    assert!(Bundles::open(Path::new("/proc/no/such"), Bounds::default()).is_err());
}

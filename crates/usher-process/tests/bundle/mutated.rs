//! Archives with bytes changed at random: whatever they have become, nothing panics, and nothing is
//! written outside of the store.

use std::fs;

use proptest::prelude::*;
use usher_process::bundle::{Bounds, Bundles};

use super::forge::{self, deflated, file, link, with_mode};
use super::stored::{DIGEST, tree};

/// An archive with one of each.
fn seed() -> Vec<u8> {
    forge::forge(&[
        with_mode("d/", b"", forge::FOLDER),
        deflated("d/zeros", &[0; 400]),
        deflated("text", b"the quick brown fox jumps over the lazy dog"),
        file("plain", b"0123456789"),
        link("d/link", "../plain"),
        link("to", "d/zeros"),
    ])
}

/// What of an archive is changed: where, and to what.
fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let words = b"./\\\0PK\x01\x02\x03\x04\x05\x06\x07\x08\x40\x7f\xff".to_vec();
    let byte = prop_oneof![any::<u8>(), proptest::sample::select(words)];
    proptest::collection::vec((0..10_000_usize, byte), 1..6)
}

fn count() -> u32 {
    match std::env::var_os("USHER_PROVE") {
        Some(_) => 20_000,
        None => 300,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(count()))]

    #[test]
    fn a_changed_archive_does_no_harm(changes in changes(), cut in 0..40_usize) {
        let mut archive = seed();
        for (at, byte) in changes {
            let at = at % archive.len();
            archive[at] = byte;
        }
        if cut < 10 {
            archive.truncate(archive.len() - cut);
        }
        let around = tempfile::tempdir().unwrap();
        fs::write(around.path().join("canary"), "sings").unwrap();
        let bundles = Bundles::open(&around.path().join("store"), Bounds::default()).unwrap();
        let before = tree(around.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let unpacked = runtime.block_on(bundles.unpack(archive.into(), DIGEST));
        let mut after = tree(around.path());
        if let Ok(folder) = unpacked {
            let whole = folder.path().strip_prefix(around.path()).unwrap();
            let whole = whole.to_string_lossy().into_owned();
            after.retain(|path, _| !path.starts_with(&whole));
            for path in tree(folder.path()).keys() {
                // No link leads out either.
                if let Ok(end) = fs::canonicalize(folder.path().join(path)) {
                    prop_assert!(end.starts_with(fs::canonicalize(folder.path()).unwrap()));
                }
            }
        }
        prop_assert_eq!(before, after);
    }
}

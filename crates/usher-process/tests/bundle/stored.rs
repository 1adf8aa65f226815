//! Bundles that mean well, as they come to stand on the disk.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use usher_core::id::Digest;
use usher_process::bundle::{Bounds, Bundles};

use super::forge::{self, FILE, FOLDER, PROGRAM, deflated, file, link, with_mode};

pub(super) const DIGEST: Digest = Digest([7; 32]);

/// All that is under a folder: paths, modes, and contents or targets.
pub(super) fn tree(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let bytes = if about.is_dir() {
                open.push(path.clone());
                Vec::new()
            } else if about.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                target.to_string_lossy().into_owned().into_bytes()
            } else {
                fs::read(&path).unwrap()
            };
            let name = path.strip_prefix(root).unwrap().to_string_lossy();
            found.insert(name.into_owned(), (about.permissions().mode(), bytes));
        }
    }
    found
}

/// What an archive unpacks to.
pub(super) async fn unpacked(archive: Vec<u8>) -> BTreeMap<String, (u32, Vec<u8>)> {
    let around = tempfile::tempdir().unwrap();
    let bundles = Bundles::open(around.path(), Bounds::default()).unwrap();
    let folder = bundles.unpack(archive.into(), DIGEST).await.unwrap();
    assert!(folder.path().starts_with(around.path()));
    tree(folder.path())
}

#[tokio::test]
async fn files_are_readable_for_all_and_have_no_mode_but_execute() {
    let tree = unpacked(forge::forge(&[
        with_mode("secret", b"x", 0o100_600),
        with_mode("root", b"x", 0o106_755),
        with_mode("sticky/", b"", 0o041_777),
        with_mode("bootstrap", b"x", 0o100_700),
        // Made where there are no modes.
        with_mode("plain", b"x", 0),
        deflated("a/b/c", b"deep"),
        link("to", "a/b/c"),
        link("a/up", "../to"),
        link("a/b/gone", "nowhere"),
        with_mode("./", b"", FOLDER),
    ]))
    .await;
    let modes: Vec<_> = tree
        .iter()
        .map(|(name, (mode, _))| (name.as_str(), *mode))
        .collect();
    assert_eq!(
        modes,
        [
            ("a", FOLDER),
            ("a/b", FOLDER),
            ("a/b/c", FILE),
            ("a/b/gone", forge::LINK),
            ("a/up", forge::LINK),
            ("bootstrap", PROGRAM),
            ("plain", FILE),
            ("root", PROGRAM),
            ("secret", FILE),
            ("sticky", FOLDER),
            ("to", forge::LINK),
        ]
    );
    assert_eq!(tree["a/b/c"].1, b"deep");
    assert_eq!(tree["a/up"].1, b"../to");
}

#[tokio::test]
async fn a_bundle_is_unpacked_once_and_can_be_forgotten() {
    let around = tempfile::tempdir().unwrap();
    let bundles = Bundles::open(around.path(), Bounds::default()).unwrap();
    let archive = forge::forge(&[file("a", b"x")]);
    let calls = (0..4).map(|_| bundles.unpack(archive.clone().into(), DIGEST));
    let folders: Vec<_> = futures(calls).await;
    let first = folders[0].clone();
    assert!(folders.iter().all(|folder| *folder == first));
    // What is there is not looked at again: the bytes are not even an archive.
    let again = bundles.unpack(b"".as_slice().into(), DIGEST).await.unwrap();
    assert_eq!(again, first);
    // Nor by a platform that starts anew.
    let anew = Bundles::open(around.path(), Bounds::default()).unwrap();
    assert_eq!(
        anew.unpack(b"".as_slice().into(), DIGEST).await.unwrap(),
        first
    );
    bundles.forget(DIGEST).unwrap();
    bundles.forget(DIGEST).unwrap();
    assert_eq!(
        tree(around.path()).len(),
        1,
        "only the folder of the boot is left"
    );
    assert!(bundles.unpack(b"".as_slice().into(), DIGEST).await.is_err());
}

async fn futures<F>(calls: impl Iterator<Item = F>) -> Vec<usher_process::bundle::Folder>
where
    F: Future<Output = Result<usher_process::bundle::Folder, usher_process::bundle::BundleError>>,
{
    let mut done = Vec::new();
    for call in calls.map(Box::pin).collect::<Vec<_>>() {
        done.push(call.await.unwrap());
    }
    done
}

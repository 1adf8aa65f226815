//! The folder, its lock, its format and its bounds; how writes are grouped.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::join_all;
use redb::{Database, TableDefinition};

use super::super::store::FORMAT;
use super::disk::Disk;
use super::open_on;
use crate::blobs::whole;
use crate::{
    Blobs, Embedded, GetBlobError, KeyValue, Limits, OpenError, WatchAfterError, WriteError,
};

#[tokio::test]
async fn a_folder_has_one_owner_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = Embedded::open(folder.path(), Limits::default()).unwrap();
    let second = Embedded::open(folder.path(), Limits::default()).map(drop);
    match &second {
        Err(OpenError::InUse { pid, .. }) => assert_eq!(*pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    let text = second.unwrap_err().to_string();
    assert!(
        text.contains(&format!("by process {}", std::process::id())),
        "{text}"
    );
    drop(first);
    Embedded::open(folder.path(), Limits::default()).unwrap();
}

#[tokio::test]
async fn a_watch_does_not_keep_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Embedded::open(folder.path(), Limits::default()).unwrap();
    let _watch = first.watch("").await.unwrap();
    drop(first);
    Embedded::open(folder.path(), Limits::default()).unwrap();
}

#[tokio::test]
async fn a_new_folder_is_for_its_owner_only() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("new/data");
    let _backbone = Embedded::open(&folder, Limits::default()).unwrap();
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Embedded::open(folder.path(), Limits::default()).unwrap());
    let set = |format: u64| {
        let database = Database::open(folder.path().join("store.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta: TableDefinition<&str, u64> = TableDefinition::new("meta");
        transaction
            .open_table(meta)
            .unwrap()
            .insert("format", format)
            .unwrap();
        transaction.commit().unwrap();
    };
    set(FORMAT + 1);
    match Embedded::open(folder.path(), Limits::default()).map(drop) {
        Err(OpenError::NewerFormat { found, known, .. }) => {
            assert_eq!((found, known), (FORMAT + 1, FORMAT));
        }
        other => panic!("{other:?}"),
    }
    set(FORMAT);
    Embedded::open(folder.path(), Limits::default()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.redb");
    fs::write(&store, "somebody's notes").unwrap();
    let opened = Embedded::open(folder.path(), Limits::default()).map(drop);
    assert!(matches!(opened, Err(OpenError::Io { .. })), "{opened:?}");
    assert_eq!(fs::read(&store).unwrap(), b"somebody's notes");
}

#[tokio::test]
async fn what_a_crash_left_of_a_blob_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let incoming = folder.path().join("incoming");
    fs::create_dir(&incoming).unwrap();
    fs::write(incoming.join("0"), "half").unwrap();
    let backbone = Embedded::open(folder.path(), Limits::default()).unwrap();
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
    backbone.put_blob(whole("next")).await.unwrap();
    assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
}

#[tokio::test]
async fn a_damaged_blob_is_told_and_can_be_healed() {
    let folder = tempfile::tempdir().unwrap();
    let backbone = Embedded::open(folder.path(), Limits::default()).unwrap();
    let digest = backbone.put_blob(whole("blob")).await.unwrap().digest;
    let path = folder.path().join("blobs").join(digest.to_string());
    for damage in ["blot", "blo", "blob and more"] {
        fs::write(&path, damage).unwrap();
        let read = backbone.get_blob(&digest).await;
        assert!(
            matches!(read, Err(GetBlobError::Damaged { .. })),
            "{read:?}"
        );
    }
    backbone.put_blob(whole("blob")).await.unwrap();
    assert_eq!(
        backbone.get_blob(&digest).await.unwrap(),
        Some("blob".into())
    );
}

#[tokio::test]
async fn a_full_store_refuses_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        store_max_bytes: 1_000,
        ..Limits::default()
    };
    let value = |bytes: usize| Bytes::from(vec![7; bytes]);
    let backbone = Embedded::open(folder.path(), limits.clone()).unwrap();
    backbone.put("a", value(600)).await.unwrap();
    let refused = backbone.put("b", value(600)).await;
    assert!(
        matches!(refused, Err(WriteError::StoreFull { max_bytes: 1_000 })),
        "{refused:?}"
    );
    // A replaced value makes room for the one that replaces it, also in what a reopening counts.
    for _ in 0..5 {
        backbone.put("a", value(700)).await.unwrap();
    }
    drop(backbone);
    let backbone = Embedded::open(folder.path(), limits).unwrap();
    assert!(backbone.put("b", value(600)).await.is_err());
    backbone.delete("a", None).await.unwrap();
    backbone.put("b", value(600)).await.unwrap();
}

#[tokio::test]
async fn a_watch_from_before_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        watch_log_max_ops: 3,
        ..Limits::default()
    };
    let backbone = Embedded::open(folder.path(), limits).unwrap();
    for n in 0..5 {
        backbone.put("a", n.to_string().into()).await.unwrap();
    }
    assert!(backbone.watch_after("", 2).await.is_ok());
    match backbone.watch_after("", 1).await.map(drop) {
        Err(WatchAfterError::Compacted { wanted, oldest }) => assert_eq!((wanted, oldest), (1, 2)),
        other => panic!("{other:?}"),
    }
}

/// While one write waits for the disk, those behind it gather and then share one transaction.
#[tokio::test]
async fn waiting_writes_share_a_transaction() {
    const WRITES: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let backbone = open_on(folder.path(), disk.opener(), Limits::default());
    let syncs = |disk: &Disk| disk.state().syncs;
    let before = syncs(&disk);
    backbone.put("one", Bytes::new()).await.unwrap();
    let per_commit = syncs(&disk) - before;
    assert!(per_commit > 0);

    let keys: Vec<_> = (0..WRITES).map(|n| format!("k.{n}")).collect();
    let mut writes = join_all(keys.iter().map(|key| backbone.put(key, Bytes::new())));
    let before = {
        let held = disk.state();
        assert!((&mut writes).now_or_never().is_none());
        held.syncs
    };
    assert!(writes.await.iter().all(Result::is_ok));
    let commits = (syncs(&disk) - before) / per_commit;
    assert!(commits <= 2, "{commits} transactions for {WRITES} writes");
}

//! Full disks: a clear error, nothing left behind, and reads and later writes that work.

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::child::{Child, Mode};
use super::disk::Disk;
use super::open_on;
use crate::blobs::whole;
use crate::{Blobs, Embedded, KeyValue, Limits, Op, PutBlobError, WriteError};

const VALUE_BYTES: usize = 100_000;

/// Fills the store with `fill.N` until the disk is full, and returns how many there are.
async fn fill(backbone: &Embedded) -> usize {
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    for n in 0.. {
        match backbone.put(&format!("fill.{n}"), value.clone()).await {
            Ok(_) => {}
            Err(WriteError::DiskFull(_)) => return n,
            Err(error) => panic!("{error:?}"),
        }
        assert!(n < 1_000, "the disk never became full");
    }
    unreachable!("the loop has no other end")
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let backbone = open_on(folder.path(), disk.opener(), Limits::default());
    backbone.put("before", "1".into()).await.unwrap();
    let now = disk.state().len_now();
    disk.state().room_bytes = Some(now);
    let filled = fill(&backbone).await;
    let listing = backbone.list("fill.").await.unwrap();
    assert_eq!(
        listing.entries.len(),
        filled,
        "nothing of the refused write is there"
    );

    disk.state().room_bytes = None;
    let last = backbone.put("after", "1".into()).await.unwrap();
    assert_eq!(
        last,
        listing.revision + 1,
        "the refused write took no revision"
    );
    drop(backbone);
    let backbone = open_on(folder.path(), disk.opener(), Limits::default());
    let entries = backbone.list("").await.unwrap().entries;
    assert_eq!(entries.len(), filled + 2);
}

/// Every access that a write makes fails once; the answer is never wrong about what happened.
#[tokio::test]
async fn a_failing_disk_never_makes_a_false_answer() {
    let mut succeeded = false;
    for changes in 0..1_000 {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let backbone = open_on(folder.path(), disk.opener(), Limits::default());
        let before = backbone.put("a", "before".into()).await.unwrap();
        disk.state().changes_left = Some(changes);
        let written = backbone.put("a", "after".into()).await;
        let read = backbone.get("a").await.unwrap().unwrap();
        if written.is_err() {
            // While the disk fails, reads and refusals go on.
            let again = backbone.put("a", "again".into()).await;
            assert!(matches!(again, Err(WriteError::Io(_))), "{again:?}");
        }
        disk.state().changes_left = None;
        let last = backbone.put("b", "healed".into()).await.unwrap();
        let now = backbone.get("a").await.unwrap().unwrap();
        match written {
            Ok(revision) => {
                assert_eq!((revision, &now.value[..]), (before + 1, &b"after"[..]));
                assert_eq!((read, last), (now, before + 2));
                succeeded = true;
                break;
            }
            Err(WriteError::Io(_)) => {
                let there = now.value == "after";
                assert_eq!(last, before + 1 + u64::from(there));
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(succeeded, "the write never had the accesses it needs");
}

#[test]
fn full_files_in_a_real_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        Child::start(Mode::SmallFiles, folder.path())
            .wait()
            .success()
    );
}

/// Runs as a child, for the limit holds for the whole process: no file may become larger, and
/// writing beyond fails as on a full disk.
pub(super) async fn in_small_files(folder: &std::path::Path) {
    const FILE_MAX_BYTES: u64 = 4 << 20;
    let beyond = usize::try_from(2 * FILE_MAX_BYTES).unwrap();
    // A handler keeps the signal of the limit from ending the process.
    let _caught = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).unwrap();
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = Some(FILE_MAX_BYTES);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();

    let backbone = Embedded::open(folder, Limits::default()).unwrap();
    let put = backbone.put_blob(whole(vec![7; beyond])).await;
    assert!(matches!(put, Err(PutBlobError::DiskFull(_))), "{put:?}");
    assert_eq!(backbone.list_blobs().await.unwrap(), []);
    let incoming = std::fs::read_dir(folder.join("incoming")).unwrap();
    assert_eq!(incoming.count(), 0);
    backbone.put_blob(whole("small")).await.unwrap();

    let filled = fill(&backbone).await;
    assert!(filled > 0);
    for n in 0..filled {
        let entry = backbone.get(&format!("fill.{n}")).await.unwrap().unwrap();
        assert_eq!(entry.value.len(), VALUE_BYTES);
    }
    // Deleting makes room, though it must write to do so.
    let deletes = (0..filled).map(|n| Op::delete(format!("fill.{n}"), None));
    backbone.apply(deletes.collect()).await.unwrap();
    backbone
        .put("after", vec![7; VALUE_BYTES].into())
        .await
        .unwrap();
    drop(backbone);
    let backbone = Embedded::open(folder, Limits::default()).unwrap();
    assert_eq!(backbone.list("").await.unwrap().entries.len(), 1);
}

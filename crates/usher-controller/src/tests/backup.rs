//! Back-ups: what is in them, and what restoring does to what is there.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use usher_api::backup::{OnConflict, Restored};
use usher_api::client::ClientError;

use super::rig::{Asked, Rig, key};
use crate::secrets::KEY_FILE;
use crate::{OwnFiles, RestoreError};

async fn taken(rig: &Rig) -> Vec<u8> {
    let download = rig.client.backup().await.unwrap();
    let announced = download.bytes.unwrap();
    let pieces: Vec<Bytes> = download.pieces.try_collect().await.unwrap();
    let archive = pieces.concat();
    assert_eq!(archive.len() as u64, announced);
    archive
}

async fn restored(
    rig: &Rig,
    archive: &[u8],
    on_conflict: OnConflict,
) -> Result<Restored, ClientError> {
    let archive = Bytes::copy_from_slice(archive);
    rig.client.restore(archive.into(), on_conflict).await
}

fn refusal(outcome: Result<Restored, ClientError>) -> (String, Vec<String>) {
    match outcome {
        Err(ClientError::Refused { error, .. }) => (error.label, error.details),
        other => panic!("not refused: {other:?}"),
    }
}

/// A platform with two functions and an entry that is none.
async fn populated() -> Rig {
    let rig = Rig::new().await;
    rig.deploy("one", "first").await;
    rig.deploy("two", "second").await;
    rig.backbone
        .put("settings.a", Bytes::from("x"))
        .await
        .unwrap();
    rig
}

async fn all(rig: &Rig) -> Vec<(String, Bytes)> {
    let entries = rig.backbone.list("").await.unwrap().entries;
    let pairs = entries.into_iter();
    pairs
        .map(|entry| (entry.key.to_string(), entry.value))
        .collect()
}

#[tokio::test]
async fn what_was_backed_up_is_there_after_restoring_into_an_empty_platform() {
    let (old, new) = (populated().await, Rig::new().await);
    let archive = taken(&old).await;
    let outcome = restored(&new, &archive, OnConflict::Refuse).await.unwrap();
    assert_eq!((outcome.added, outcome.blobs), (3, 2));
    assert_eq!(all(&new).await, all(&old).await);
    let stored = |blobs: Vec<usher_backbone::Blob>| {
        let named = blobs.into_iter().map(|blob| (blob.digest, blob.bytes));
        named.collect::<Vec<_>>()
    };
    assert_eq!(
        stored(new.backbone.list_blobs().await.unwrap()),
        stored(old.backbone.list_blobs().await.unwrap())
    );
    let view = new.client.show(&key("one")).await.unwrap();
    assert_eq!(
        view.revision,
        old.client.show(&key("one")).await.unwrap().revision
    );
    // Once more changes nothing.
    let again = restored(&new, &archive, OnConflict::Refuse).await.unwrap();
    assert_eq!((again.added, again.unchanged), (0, 3));
}

#[tokio::test]
async fn what_is_there_with_another_value_is_refused_kept_or_replaced_as_asked() {
    let old = populated().await;
    let archive = taken(&old).await;
    let new = Rig::new().await;
    new.deploy("one", "changed").await;
    let before = all(&new).await;
    let (label, keys) = refusal(restored(&new, &archive, OnConflict::Refuse).await);
    assert_eq!(label, "conflicts");
    assert_eq!(keys, ["functions.default.one"]);
    assert_eq!(all(&new).await, before, "a refusal changes nothing");
    let kept = restored(&new, &archive, OnConflict::Keep).await.unwrap();
    assert_eq!((kept.added, kept.kept, kept.replaced), (2, 1, 0));
    let one = || async { new.client.show(&key("one")).await.unwrap().revision };
    assert_ne!(
        one().await,
        old.client.show(&key("one")).await.unwrap().revision
    );
    let replaced = restored(&new, &archive, OnConflict::Replace).await.unwrap();
    assert_eq!((replaced.unchanged, replaced.replaced), (2, 1));
    assert_eq!(
        one().await,
        old.client.show(&key("one")).await.unwrap().revision
    );
}

/// The node hears of what was replaced as it hears of an ordinary change, and of nothing else.
#[tokio::test]
async fn the_node_is_told_of_what_was_replaced_and_of_nothing_else() {
    let rig = populated().await;
    let secret = |value: &'static str| Bytes::from_static(value.as_bytes());
    for name in ["secrets.default.same", "secrets.default.other"] {
        rig.backbone.put(name, secret("old")).await.unwrap();
    }
    let archive = taken(&rig).await;
    let changed = rig.deploy("one", "changed").await;
    rig.backbone
        .put("secrets.default.other", secret("new"))
        .await
        .unwrap();
    let before = rig.node.asked().len();
    // The controls: what is kept or refused is told to nobody.
    refusal(restored(&rig, &archive, OnConflict::Refuse).await);
    restored(&rig, &archive, OnConflict::Keep).await.unwrap();
    assert_eq!(rig.node.asked().len(), before);
    restored(&rig, &archive, OnConflict::Replace).await.unwrap();
    let told = [
        Asked::Changed("other".parse().unwrap()),
        Asked::Retire(changed),
    ];
    assert_eq!(rig.node.asked()[before..], told);
}

#[tokio::test]
async fn a_back_up_that_was_cut_off_changes_nothing() {
    let archive = taken(&populated().await).await;
    let new = Rig::new().await;
    for length in [0, 100, 600, archive.len() / 2, archive.len() - 1_536] {
        let (label, _) = refusal(restored(&new, &archive[..length], OnConflict::Replace).await);
        assert_eq!(label, "bad-backup", "{length}");
        assert!(all(&new).await.is_empty(), "{length}");
    }
}

/// The archive's bytes, and between its first and its second half something else happens.
fn interrupted(
    archive: Vec<u8>,
    meanwhile: impl Future<Output = ()> + Send + 'static,
) -> BoxStream<'static, io::Result<Bytes>> {
    let half = archive.len() / 2;
    let (first, second) = (archive[..half].to_vec(), archive[half..].to_vec());
    let second = stream::once(async move {
        meanwhile.await;
        Ok(Bytes::from(second))
    });
    stream::iter([Ok(Bytes::from(first))]).chain(second).boxed()
}

#[tokio::test]
async fn a_write_that_is_acknowledged_while_a_back_up_is_restored_is_not_lost() {
    let archive = taken(&populated().await).await;
    let new = Rig::new().await;
    let backbone = std::sync::Arc::clone(&new.backbone);
    let source = interrupted(archive, async move {
        backbone
            .put("settings.a", Bytes::from("mine"))
            .await
            .unwrap();
    });
    let refused = new.controller.restore(source, OnConflict::Refuse).await;
    assert!(
        matches!(refused, Err(RestoreError::Conflicts { .. })),
        "{refused:?}"
    );
    assert_eq!(
        all(&new).await,
        [("settings.a".to_owned(), Bytes::from("mine"))]
    );
}

#[tokio::test]
async fn nothing_that_a_back_up_names_is_collected_while_it_is_taken() {
    let rig = Rig::with(|setup| setup.options.artifact_grace_s = 0).await;
    rig.deploy("one", "first").await;
    let archive = rig.controller.take_backup().await.unwrap();
    rig.client.delete(&key("one")).await.unwrap();
    assert_eq!(rig.controller.core.collect().await.unwrap(), None);
    let pieces: Vec<Bytes> = archive.pieces.try_collect().await.unwrap();
    assert_eq!(pieces.concat().len() as u64, archive.bytes);
    // The task that sent it lets go when it ends, which is when the last piece was taken.
    let free = std::sync::Arc::clone(&rig.controller.core.artifacts);
    drop(free.write().await);
    assert_eq!(rig.controller.core.collect().await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_record_whose_artifact_is_gone_is_told_before_a_back_up_begins() {
    let rig = populated().await;
    for blob in rig.backbone.list_blobs().await.unwrap() {
        rig.backbone.delete_blob(&blob.digest).await.unwrap();
    }
    let Err(error) = rig.client.backup().await else {
        panic!("a back-up without its artifacts was taken");
    };
    assert!(error.to_string().contains("is not stored"), "{error}");
}

#[tokio::test]
async fn the_key_of_secrets_comes_along_and_is_written_nowhere_and_no_other_file_gets_in() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in [KEY_FILE, "other.key"] {
        std::fs::write(here.path().join(name), "secret").unwrap();
    }
    let own = |folder: &std::path::Path, names: &[&str]| OwnFiles::below(folder, names);
    let carried = async |names: &[&str]| {
        let old = Rig::with(|setup| setup.options.own_files = own(here.path(), names));
        taken(&old.await).await
    };
    let names = [KEY_FILE, "other.key"];
    let new = Rig::with(|setup| setup.options.own_files = own(there.path(), &names)).await;
    let (key, other) = (carried(&[KEY_FILE]).await, carried(&["other.key"]).await);
    let member = |archive: &[u8], name: &[u8]| archive.windows(name.len()).any(|it| it == name);
    assert!(member(&key, b"files/secrets.key") && member(&other, b"files/other.key"));
    restored(&new, &key, OnConflict::Refuse).await.unwrap();
    let (label, _) = refusal(restored(&new, &other, OnConflict::Refuse).await);
    assert_eq!(label, "bad-backup");
    assert_eq!(std::fs::read_dir(there.path()).unwrap().count(), 0);
}

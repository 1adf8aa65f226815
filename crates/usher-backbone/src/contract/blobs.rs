//! Blobs in, out, and away.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use sha2::{Digest as _, Sha256};
use usher_core::id::Digest;

use super::Harness;
use crate::blobs::whole;
use crate::{Backbone, PutBlobError};

/// Runs every check of this module.
pub async fn all(harness: &dyn Harness) {
    a_stored_blob_is_read_under_its_digest(&*harness.empty().await).await;
    a_blob_in_pieces_is_the_blob_whole(&*harness.empty().await).await;
    a_broken_source_leaves_nothing(&*harness.empty().await).await;
    a_blob_too_large_leaves_nothing(harness).await;
    a_deleted_blob_is_gone(&*harness.empty().await).await;
    blobs_are_there_after_reopening(harness).await;
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

async fn a_stored_blob_is_read_under_its_digest(backbone: &dyn Backbone) {
    for bytes in [Bytes::new(), Bytes::from("blob"), vec![9; 3 << 20].into()] {
        let wanted = digest(&bytes);
        assert!(!backbone.has_blob(&wanted).await.expect("an answer"));
        assert_eq!(backbone.get_blob(&wanted).await.expect("an answer"), None);
        let blob = backbone
            .put_blob(whole(bytes.clone()))
            .await
            .expect("a blob");
        assert_eq!((blob.digest, blob.bytes), (wanted, bytes.len() as u64));
        assert!(backbone.has_blob(&wanted).await.expect("an answer"));
        assert_eq!(
            backbone.get_blob(&wanted).await.expect("an answer"),
            Some(bytes)
        );
    }
}

async fn a_blob_in_pieces_is_the_blob_whole(backbone: &dyn Backbone) {
    let pieces = ["a ", "", "blob ", "in pieces"].map(|piece| Ok(Bytes::from(piece)));
    let first = backbone
        .put_blob(stream::iter(pieces).boxed())
        .await
        .expect("a blob");
    let again = backbone
        .put_blob(whole("a blob in pieces"))
        .await
        .expect("the same blob");
    assert_eq!(first.digest, again.digest);
    assert_eq!(backbone.list_blobs().await.expect("a listing"), [again]);
}

async fn a_broken_source_leaves_nothing(backbone: &dyn Backbone) {
    let broken = io::Error::from(io::ErrorKind::ConnectionReset);
    let pieces = [Ok(Bytes::from("half")), Err(broken)];
    let put = backbone.put_blob(stream::iter(pieces).boxed()).await;
    assert!(matches!(put, Err(PutBlobError::Source(_))), "{put:?}");
    assert!(
        !backbone
            .has_blob(&digest(b"half"))
            .await
            .expect("an answer")
    );
    assert_eq!(backbone.list_blobs().await.expect("a listing"), []);
}

async fn a_blob_too_large_leaves_nothing(harness: &dyn Harness) {
    let backbone = harness.empty().await;
    let max_bytes = harness.blob_max_bytes();
    let pieces = [Ok(Bytes::from(vec![1; max_bytes])), Ok(Bytes::from("1"))];
    let put = backbone.put_blob(stream::iter(pieces).boxed()).await;
    assert!(matches!(put, Err(PutBlobError::TooLarge { .. })), "{put:?}");
    assert_eq!(backbone.list_blobs().await.expect("a listing"), []);
    let largest = whole(vec![1; max_bytes]);
    let blob = backbone.put_blob(largest).await.expect("the largest blob");
    let read = backbone.get_blob(&blob.digest).await.expect("an answer");
    assert_eq!(read.map(|bytes| bytes.len()), Some(max_bytes));
}

async fn a_deleted_blob_is_gone(backbone: &dyn Backbone) {
    let kept = backbone.put_blob(whole("kept")).await.expect("a blob");
    let gone = backbone.put_blob(whole("gone")).await.expect("a blob");
    assert!(backbone.delete_blob(&gone.digest).await.expect("a delete"));
    assert!(
        !backbone
            .delete_blob(&gone.digest)
            .await
            .expect("a delete of nothing")
    );
    assert_eq!(
        backbone.get_blob(&gone.digest).await.expect("an answer"),
        None
    );
    assert_eq!(backbone.list_blobs().await.expect("a listing"), [kept]);
}

async fn blobs_are_there_after_reopening(harness: &dyn Harness) {
    let backbone = harness.empty().await;
    for n in 0..5 {
        backbone
            .put_blob(whole(format!("blob {n}")))
            .await
            .expect("a blob");
    }
    let before = backbone.list_blobs().await.expect("a listing");
    let backbone = harness.reopen(backbone).await;
    assert_eq!(backbone.list_blobs().await.expect("a listing"), before);
    let read = backbone
        .get_blob(&digest(b"blob 3"))
        .await
        .expect("an answer");
    assert_eq!(read, Some("blob 3".into()));
}

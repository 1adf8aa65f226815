//! Artifacts: what is stored, and what is collected when.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::sync::mpsc;
use usher_api::body::{Body, BodyError};
use usher_api::client::ClientError;
use usher_api::record::RESTORABLE_MAX;

use super::rig::{Rig, key, pieces, request};

#[tokio::test]
async fn an_artifact_is_stored_once() {
    let rig = Rig::new().await;
    let first = rig.client.put_artifact(Bytes::from("abc")).await.unwrap();
    assert_eq!(
        first.digest.to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    assert_eq!((first.bytes, first.existed), (3, false));
    let again = rig.client.put_artifact(Bytes::from("abc")).await.unwrap();
    assert_eq!((again.digest, again.existed), (first.digest, true));
    let other = rig.client.put_artifact(Bytes::from("abd")).await.unwrap();
    assert!(!other.existed);
}

fn label(error: ClientError) -> String {
    match error {
        ClientError::Refused { error, .. } => error.label,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn empty_and_large_artifacts_are_refused() {
    let rig = Rig::with(|setup| setup.options.artifact_max_bytes = 4).await;
    assert!(rig.client.put_artifact(Bytes::from("four")).await.is_ok());
    let empty = rig.client.put_artifact(Bytes::new()).await.unwrap_err();
    assert_eq!(label(empty), "empty-artifact");
    let announced = rig
        .client
        .put_artifact(Bytes::from("fives"))
        .await
        .unwrap_err();
    assert_eq!(label(announced), "artifact-too-large");
    let frames = ["three", "two"].map(|piece| Ok::<_, BodyError>(Frame::data(Bytes::from(piece))));
    let streamed = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
    let streamed = rig.client.put_artifact(streamed).await.unwrap_err();
    assert_eq!(label(streamed), "artifact-too-large");
    assert_eq!(rig.backbone.list_blobs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_upload_that_stalls_is_ended_and_leaves_nothing() {
    let rig = Rig::with(|setup| setup.api.body_idle_max_ms = 1).await;
    let head = "POST /v1/artifacts HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nabc";
    let (status, body) = super::wire::ask(&rig, head).await;
    assert_eq!(status, 408, "{body}");
    assert!(rig.backbone.list_blobs().await.unwrap().is_empty());
}

/// As long as it is held nothing is collected. Without a grace the collection of the controller's
/// own start could otherwise come in between an upload and what follows it.
async fn held(rig: &Rig) -> tokio::sync::RwLockReadGuard<'_, ()> {
    rig.controller.core.artifacts.read().await
}

#[tokio::test]
async fn only_what_no_record_names_is_collected() {
    let rig = Rig::with(|setup| setup.options.artifact_grace_s = 0).await;
    let held = held(&rig).await;
    rig.deploy("hello", "one").await;
    rig.deploy("hello", "two").await;
    rig.client
        .put_artifact(Bytes::from("never deployed"))
        .await
        .unwrap();
    drop(held);
    assert_eq!(rig.controller.core.collect().await.unwrap(), Some(1));
    let mut named = Vec::new();
    for content in ["one", "two"] {
        named.push(rig.request("again", content).await.artifact);
    }
    let left = rig.backbone.list_blobs().await.unwrap();
    let mut left: Vec<_> = left.iter().map(|blob| blob.digest).collect();
    named.sort();
    left.sort();
    assert_eq!(left, named, "what can be restored is named too");
}

#[tokio::test]
async fn what_is_too_old_to_be_restored_is_collected_unless_an_alias_names_it() {
    let rig = Rig::with(|setup| setup.options.artifact_grace_s = 0).await;
    let held = held(&rig).await;
    rig.deploy("hello", "first").await;
    let (first, hello) = (vec!["v1".parse().unwrap()], key("hello"));
    let pinned = "pinned".parse().unwrap();
    rig.client.set_alias(&hello, &pinned, first).await.unwrap();
    for number in 0..RESTORABLE_MAX + 2 {
        rig.deploy("hello", &format!("content {number}")).await;
    }
    drop(held);
    // Of all but the current one, the newest stay: one of those above is too old.
    assert_eq!(rig.controller.core.collect().await.unwrap(), Some(1));
    rig.client.delete_alias(&hello, &pinned).await.unwrap();
    assert_eq!(rig.controller.core.collect().await.unwrap(), Some(1));
    let left = rig.backbone.list_blobs().await.unwrap();
    assert_eq!(left.len(), RESTORABLE_MAX + 1);
}

#[tokio::test]
async fn what_is_young_is_not_collected() {
    let rig = Rig::with(|setup| setup.options.artifact_grace_s = 3_600).await;
    let stored = rig
        .client
        .put_artifact(Bytes::from("on its way"))
        .await
        .unwrap();
    assert_eq!(rig.controller.core.collect().await.unwrap(), Some(0));
    rig.client
        .deploy(&request("hello", stored.digest), |_| {})
        .await
        .unwrap();
}

#[tokio::test]
async fn nothing_is_collected_while_it_is_deployed() {
    let rig = Rig::with(|setup| setup.options.artifact_grace_s = 0).await;
    let held = held(&rig).await;
    let request = rig.request("hello", "one").await;
    rig.node.open.send_replace(false);
    let deploy = rig.client.deploy(&request, |_| {});
    tokio::pin!(deploy);
    tokio::select! {
        done = &mut deploy => panic!("done before it was prepared: {done:?}"),
        () = rig.node.was_asked_times(1) => {}
    }
    drop(held);
    assert_eq!(rig.controller.core.collect().await.unwrap(), None);
    rig.node.open.send_replace(true);
    deploy.await.unwrap();
    assert_eq!(rig.controller.core.collect().await.unwrap(), Some(0));
    assert!(rig.backbone.has_blob(&request.artifact).await.unwrap());
}

#[tokio::test]
async fn nothing_is_collected_while_anything_is_uploaded() {
    let rig = Rig::with(|setup| setup.options.artifact_grace_s = 0).await;
    let held = held(&rig).await;
    rig.client
        .put_artifact(Bytes::from("garbage"))
        .await
        .unwrap();
    let (send, receive) = mpsc::channel::<io::Result<Bytes>>(1);
    let upload = rig.controller.put_artifact(pieces(receive));
    tokio::pin!(upload);
    tokio::select! {
        done = &mut upload => panic!("done without an end: {done:?}"),
        // The second piece finds room only when the first was taken.
        () = async {
            send.send(Ok(Bytes::from("a"))).await.unwrap();
            send.send(Ok(Bytes::from("b"))).await.unwrap();
        } => {}
    }
    drop(held);
    assert_eq!(rig.controller.core.collect().await.unwrap(), None);
    drop(send);
    upload.await.unwrap();
    assert_eq!(rig.controller.core.collect().await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_stops_the_collection() {
    let rig = Rig::with(|setup| setup.options.artifact_grace_s = 0).await;
    let held = held(&rig).await;
    rig.client
        .put_artifact(Bytes::from("perhaps needed"))
        .await
        .unwrap();
    rig.backbone
        .put("functions.default.broken", Bytes::from("{"))
        .await
        .unwrap();
    drop(held);
    assert!(rig.controller.core.collect().await.is_err());
    assert_eq!(rig.backbone.list_blobs().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_broken_upload_leaves_nothing() {
    let rig = Rig::new().await;
    let broken =
        futures_util::stream::iter([Ok(Bytes::from("half")), Err(io::Error::other("gone"))]);
    assert!(rig.controller.put_artifact(broken.boxed()).await.is_err());
    assert!(rig.backbone.list_blobs().await.unwrap().is_empty());
}

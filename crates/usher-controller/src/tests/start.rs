//! What a controller does with what it finds.

use bytes::Bytes;

use super::rig::{Asked, Rig, Setup, key};

#[tokio::test]
async fn only_what_shall_always_be_ready_is_prepared_at_the_start() {
    let first = Rig::new().await;
    first.deploy("lazy", "one").await;
    let mut request = first.request("ready", "one").await;
    request.settings.keep.ready_min = 1;
    let ready = first.client.deploy(&request, |_| {}).await.unwrap();
    let id = ready.function.revision.id;

    let second = Rig::over(first.backbone.clone(), Setup::default()).await;
    second.node.was_asked(Asked::Prepare(id)).await;
    assert_eq!(second.node.asked(), [Asked::Prepare(id)]);
    let lazy = second.client.show(&key("lazy")).await.unwrap();
    assert!(lazy.image.is_none());
}

#[tokio::test]
async fn one_broken_record_does_not_hide_the_others() {
    let first = Rig::new().await;
    first.deploy("hello", "one").await;
    let broken = "functions.default.broken";
    first.backbone.put(broken, Bytes::from("{")).await.unwrap();
    let second = Rig::over(first.backbone.clone(), Setup::default()).await;
    let page = second.client.list(None, None, None).await.unwrap();
    assert_eq!(page.functions.len(), 1);
    let error = second.client.show(&key("broken")).await.unwrap_err();
    assert!(!error.is_not_found());
    assert!(first.backbone.get(broken).await.unwrap().is_some());
}

//! Deleting: gone for everybody when it is acknowledged, and what runs is finished.

use super::rig::{Asked, Rig, key};

#[tokio::test]
async fn a_deleted_function_is_gone() {
    let rig = Rig::new().await;
    let id = rig.deploy("hello", "one").await;
    let deleted = rig.client.delete(&key("hello")).await.unwrap();
    assert_eq!(deleted.revision, id);
    assert_eq!(rig.node.asked(), [Asked::Prepare(id), Asked::Retire(id)]);
    assert!(
        rig.client
            .show(&key("hello"))
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        rig.client
            .delete(&key("hello"))
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        rig.client
            .revisions(&key("hello"))
            .await
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        rig.client
            .list(None, None, None)
            .await
            .unwrap()
            .functions
            .is_empty()
    );
}

#[tokio::test]
async fn deleting_does_not_wait_for_requests_that_run() {
    let rig = Rig::new().await;
    let id = rig.deploy("hello", "one").await;
    rig.node.drained.send_replace(false);
    rig.client.delete(&key("hello")).await.unwrap();
    // The same again while the old one drains: in service, and not retired behind its back.
    assert_eq!(rig.deploy("hello", "one").await, id);
    rig.node.drained.send_replace(true);
    let asked = [Asked::Prepare(id), Asked::Retire(id), Asked::Prepare(id)];
    assert_eq!(rig.node.asked(), asked);
    assert!(rig.node.images.lock().contains_key(&id));
}

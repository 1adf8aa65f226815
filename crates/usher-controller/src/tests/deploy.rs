//! Deploying: what is acknowledged, when, and what is left where it fails.

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::sync::watch;
use usher_api::client::ClientError;
use usher_api::node::{Mode, PrepareFault};
use usher_core::fault::Blame;
use usher_core::id::Digest;

use super::rig::{Asked, FakeNode, Rig, Setup, all_differ, key, request};

fn label(error: &ClientError) -> (u16, &str) {
    match error {
        ClientError::Refused { status, error } => (status.as_u16(), &error.label),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_function_is_deployed_changed_and_shown() {
    let rig = Rig::new().await;
    let one = rig.request("hello", "one").await;
    let mut steps = Vec::new();
    let first = rig
        .client
        .deploy(&one, |step| steps.push(step.step))
        .await
        .unwrap();
    assert_eq!(steps, ["compiling"]);
    assert!(first.created && !first.unchanged);
    let urls = [
        "http://hello.localhost:8080/",
        "http://127.0.0.1:8080/fn/hello/",
    ];
    assert_eq!(first.function.urls, urls);
    assert_eq!(first.function.revision.number, 1);
    assert_eq!(first.function.image.as_ref().unwrap().mode, Mode::Live);
    assert_eq!(first.function.status.clean, 1);
    assert_eq!(
        rig.client.show(&key("hello")).await.unwrap(),
        first.function
    );

    let two = rig.request("hello", "two").await;
    let second = rig.client.deploy(&two, |_| {}).await.unwrap();
    assert!(!second.created && !second.unchanged);
    assert_eq!(second.function.revision.number, 2);
    assert_eq!(second.function.created_us, first.function.created_us);
    let revisions = rig.client.revisions(&key("hello")).await.unwrap();
    assert_eq!(revisions.current.id, second.function.revision.id);
    assert_eq!(revisions.earlier[0].id, first.function.revision.id);
    let (old, new) = (first.function.revision.id, second.function.revision.id);
    let asked = [Asked::Prepare(old), Asked::Prepare(new), Asked::Retire(old)];
    assert_eq!(rig.node.asked(), asked);
}

#[tokio::test]
async fn the_same_again_changes_nothing() {
    let rig = Rig::new().await;
    let one = rig.request("hello", "one").await;
    let first = rig.client.deploy(&one, |_| {}).await.unwrap();
    let again = rig.client.deploy(&one, |_| {}).await.unwrap();
    assert!(again.unchanged && !again.created);
    assert_eq!(again.function, first.function);
    let id = first.function.revision.id;
    assert!(!rig.node.asked().contains(&Asked::Retire(id)));
}

#[tokio::test]
async fn what_an_audit_switched_off_is_prepared_anew() {
    let rig = Rig::new().await;
    let id = rig.deploy("hello", "one").await;
    rig.node
        .images
        .lock()
        .insert(id, FakeNode::report(id, Mode::Fresh));
    let shown = rig.client.show(&key("hello")).await.unwrap();
    assert_eq!(shown.image.unwrap().mode, Mode::Fresh);
    let one = rig.request("hello", "one").await;
    let again = rig.client.deploy(&one, |_| {}).await.unwrap();
    assert!(again.unchanged);
    assert_eq!(again.function.image.unwrap().mode, Mode::Live);
    assert_eq!(rig.node.asked(), [Asked::Prepare(id), Asked::Prepare(id)]);
}

#[tokio::test]
async fn where_preparing_fails_what_served_before_still_serves() {
    let rig = Rig::new().await;
    let old = rig.deploy("hello", "one").await;
    for (blame, answer) in [
        (Blame::Function, (422, "not-deployable")),
        (Blame::Platform, (503, "prepare-failed")),
    ] {
        let message = "a core module, not a component".to_owned();
        *rig.node.fault.lock() = Some(PrepareFault { blame, message });
        let two = rig.request("hello", "two").await;
        let error = rig.client.deploy(&two, |_| {}).await.unwrap_err();
        let ClientError::Refused { error, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(error.label, answer.1);
        assert_eq!(error.blame, blame);
        assert_eq!(error.message, "a core module, not a component");
        // Without lines the status says it too.
        let error = post(&rig, &two).await;
        assert_eq!(error, answer.0);
        let shown = rig.client.show(&key("hello")).await.unwrap();
        assert_eq!(shown.revision.id, old);
    }
    let fresh = rig.request("other", "two").await;
    assert!(rig.client.deploy(&fresh, |_| {}).await.is_err());
    assert!(
        rig.client
            .show(&key("other"))
            .await
            .unwrap_err()
            .is_not_found()
    );
}

/// The status of a deployment that is not followed.
async fn post(rig: &Rig, request: &usher_api::http::DeployRequest) -> u16 {
    let body = serde_json::to_string(request).unwrap();
    super::wire::ask(rig, &super::wire::posted("/v1/functions", &body))
        .await
        .0
}

#[tokio::test]
async fn a_new_function_is_201_and_a_changed_one_200() {
    let rig = Rig::new().await;
    let one = rig.request("hello", "one").await;
    assert_eq!(post(&rig, &one).await, 201);
    assert_eq!(post(&rig, &one).await, 200);
    let two = rig.request("hello", "two").await;
    assert_eq!(post(&rig, &two).await, 200);
}

#[tokio::test]
async fn an_artifact_that_is_not_stored_cannot_be_deployed() {
    let rig = Rig::new().await;
    let request = request("hello", Digest([1; 32]));
    assert_eq!(post(&rig, &request).await, 422);
    let error = rig.client.deploy(&request, |_| {}).await.unwrap_err();
    assert_eq!(label(&error), (200, "no-such-artifact"));
    assert!(rig.node.asked().is_empty());
}

#[tokio::test]
async fn it_is_acknowledged_only_when_every_follower_knows() {
    let (first, one) = watch::channel(0);
    let (second, other) = watch::channel(0);
    let rig = Rig::with(|setup: &mut Setup| setup.followers = Some(vec![one, other])).await;
    let request = rig.request("hello", "one").await;
    let deploy = rig.client.deploy(&request, |_| {});
    tokio::pin!(deploy);
    tokio::select! {
        done = &mut deploy => panic!("acknowledged before the record was written: {done:?}"),
        () = rig.recorded("hello") => {}
    }
    first.send_replace(u64::MAX);
    // The record is there, and one follower of two knows: an answer now would be a wrong one, and
    // it has as long to come as the API takes for other questions.
    let hello = key("hello");
    let others = async {
        for _ in 0..10 {
            rig.client.show(&hello).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        done = &mut deploy => panic!("acknowledged before all knew: {done:?}"),
        () = others => {}
    }
    second.send_replace(u64::MAX);
    assert!(deploy.await.unwrap().created);
}

#[tokio::test]
async fn a_follower_that_stays_behind_is_told_and_the_old_revision_outlives_it() {
    let (applied, follower) = watch::channel(u64::MAX);
    let rig = Rig::with(|setup: &mut Setup| {
        setup.followers = Some(vec![follower]);
        setup.options.follow_wait_max_ms = 1;
    })
    .await;
    let old = rig.deploy("hello", "one").await;
    applied.send_replace(0);
    let two = rig.request("hello", "two").await;
    let error = rig.client.deploy(&two, |_| {}).await.unwrap_err();
    assert_eq!(label(&error).1, "not-followed");
    assert!(!rig.node.asked().contains(&Asked::Retire(old)));
    applied.send_replace(u64::MAX);
    rig.node.was_asked(Asked::Retire(old)).await;
    assert!(rig.client.deploy(&two, |_| {}).await.unwrap().unchanged);
}

/// Two controllers on one backbone: while ours prepares, theirs deploys the same function.
async fn overtaken(first: Option<&str>) -> Vec<u64> {
    let rig = Rig::new().await;
    if let Some(content) = first {
        rig.deploy("hello", content).await;
    }
    let other = Rig::over(rig.backbone.clone(), Setup::default()).await;
    let theirs = other.request("hello", "theirs").await;
    let client = other.client.clone();
    *rig.node.meanwhile.lock() = Some(Box::new(move || {
        Box::pin(async move {
            client.deploy(&theirs, |_| {}).await.unwrap();
        })
    }));
    let asked_before = rig.node.asked().len();
    let ours = rig.request("hello", "ours").await;
    let deployed = rig.client.deploy(&ours, |_| {}).await.unwrap();
    assert!(!deployed.created);
    // Prepared once, though it was written twice; then the other's is retired.
    assert_eq!(rig.node.asked().len() - asked_before, 2);
    let revisions = rig.client.revisions(&key("hello")).await.unwrap();
    assert_eq!(revisions.current.id, deployed.function.revision.id);
    let earlier = revisions.earlier.iter().map(|past| past.number);
    std::iter::once(revisions.current.number)
        .chain(earlier)
        .collect()
}

#[tokio::test]
async fn of_two_controllers_one_wins_and_the_other_tries_again() {
    assert_eq!(overtaken(None).await, [2, 1]);
    assert_eq!(overtaken(Some("first")).await, [3, 2, 1]);
}

#[tokio::test]
async fn changes_of_one_function_take_turns() {
    let rig = Rig::new().await;
    let old = rig.deploy("hello", "old").await;
    let (to_new, to_old) = (
        rig.request("hello", "new").await,
        rig.request("hello", "old").await,
    );
    rig.node.open.send_replace(false);
    let first = rig.client.deploy(&to_new, |_| {});
    tokio::pin!(first);
    tokio::select! {
        done = &mut first => panic!("done before it was prepared: {done:?}"),
        () = rig.node.was_asked_times(2) => {}
    }
    // Going back now must not find the old revision in service and have it retired behind its back.
    let second = rig.client.deploy(&to_old, |_| {});
    tokio::pin!(second);
    let hello = key("hello");
    let others = async {
        for _ in 0..10 {
            rig.client.show(&hello).await.unwrap();
        }
    };
    tokio::select! {
        biased;
        done = &mut second => panic!("done out of turn: {done:?}"),
        () = others => {}
    }
    assert_eq!(rig.node.asked().len(), 2);
    rig.node.open.send_replace(true);
    let (first, second) = tokio::join!(first, second);
    let new = first.unwrap().function.revision.id;
    assert_eq!(second.unwrap().function.revision.id, old);
    let asked = [
        Asked::Prepare(old),
        Asked::Prepare(new),
        Asked::Retire(old),
        Asked::Prepare(old),
        Asked::Retire(new),
    ];
    assert_eq!(rig.node.asked(), asked);
}

#[tokio::test]
async fn retiring_has_begun_when_the_turn_ends() {
    let rig = Rig::new().await;
    let id = rig.deploy("hello", "one").await;
    rig.node.drained.send_replace(false);
    // Without a single wait, although the drain is not over.
    assert!(rig.controller.core.retire(id).now_or_never().is_some());
    assert_eq!(rig.node.asked(), [Asked::Prepare(id), Asked::Retire(id)]);
}

#[tokio::test]
async fn who_may_not_try_again_leaves_nothing_behind() {
    let rig = Rig::with(|setup| setup.options.tries_max = 1).await;
    let other = Rig::over(rig.backbone.clone(), Setup::default()).await;
    let theirs = other.request("hello", "theirs").await;
    let client = other.client.clone();
    *rig.node.meanwhile.lock() = Some(Box::new(move || {
        Box::pin(async move {
            client.deploy(&theirs, |_| {}).await.unwrap();
        })
    }));
    let ours = rig.request("hello", "ours").await;
    let error = rig.client.deploy(&ours, |_| {}).await.unwrap_err();
    assert_eq!(label(&error).1, "contended");
    let [Asked::Prepare(prepared), Asked::Retire(retired)] = rig.node.asked()[..] else {
        panic!("{:?}", rig.node.asked());
    };
    assert_eq!(prepared, retired);
    let shown = rig.client.show(&key("hello")).await.unwrap();
    assert_eq!(shown.revision.number, 1);
    assert_ne!(shown.revision.id, prepared);
}

#[tokio::test]
async fn many_deployments_of_one_function_at_once_each_happen_whole() {
    let rig = Rig::new().await;
    let contents: Vec<_> = (0..20).map(|at| format!("content {at}")).collect();
    let ids = join_all(contents.iter().map(|content| rig.deploy("hello", content))).await;
    assert!(all_differ(&ids));
    let revisions = rig.client.revisions(&key("hello")).await.unwrap();
    assert_eq!(revisions.current.number, 20);
    let numbers: Vec<_> = revisions.earlier.iter().map(|past| past.number).collect();
    assert_eq!(numbers, (1..20).rev().collect::<Vec<_>>());
    // Exactly the current one is in service.
    let images = rig.node.images.lock();
    assert_eq!(images.keys().collect::<Vec<_>>(), [&revisions.current.id]);
}

#[tokio::test]
async fn going_back_and_forth_never_retires_what_is_current() {
    let rig = Rig::new().await;
    let turns: Vec<_> = (0..16).map(|at| format!("content {}", at % 2)).collect();
    join_all(turns.iter().map(|content| rig.deploy("hello", content))).await;
    let current = rig.client.show(&key("hello")).await.unwrap().revision.id;
    assert!(rig.node.images.lock().contains_key(&current));
}

#[tokio::test]
async fn a_deployment_outlives_its_caller() {
    let rig = Rig::new().await;
    let request = rig.request("hello", "one").await;
    rig.node.open.send_replace(false);
    {
        let deploy = rig.client.deploy(&request, |_| {});
        tokio::pin!(deploy);
        tokio::select! {
            done = &mut deploy => panic!("done before it was prepared: {done:?}"),
            () = rig.node.was_asked_times(1) => {}
        }
    }
    rig.node.open.send_replace(true);
    rig.recorded("hello").await;
}

#[tokio::test]
async fn more_changes_at_once_than_permitted_are_refused() {
    let rig = Rig::with(|setup| setup.options.changes_max = 1).await;
    let request = rig.request("hello", "one").await;
    rig.node.open.send_replace(false);
    let deploy = rig.client.deploy(&request, |_| {});
    tokio::pin!(deploy);
    tokio::select! {
        done = &mut deploy => panic!("done before it was prepared: {done:?}"),
        () = rig.node.was_asked_times(1) => {}
    }
    let error = rig.client.delete(&key("hello")).await.unwrap_err();
    assert_eq!(label(&error), (429, "busy"));
    rig.node.open.send_replace(true);
    deploy.await.unwrap();
    rig.client.delete(&key("hello")).await.unwrap();
}

#[tokio::test]
async fn owners_do_not_share_functions() {
    let rig = Rig::new().await;
    let mut request = rig.request("hello", "one").await;
    let ours = rig.client.deploy(&request, |_| {}).await.unwrap();
    request.owner = Some("acme".parse().unwrap());
    let theirs = rig.client.deploy(&request, |_| {}).await.unwrap();
    assert!(theirs.created);
    assert_ne!(ours.function.revision.id, theirs.function.revision.id);
    let urls = [
        "http://hello.acme.localhost:8080/",
        "http://127.0.0.1:8080/fn/hello.acme/",
    ];
    assert_eq!(theirs.function.urls, urls);
    let acme = "acme".parse().unwrap();
    let page = rig.client.list(Some(&acme), None, None).await.unwrap();
    assert_eq!(page.functions, [theirs.function]);
}

#[tokio::test]
async fn pages_show_every_function_once() {
    let rig = Rig::new().await;
    let names = ["a", "a-1", "b", "c", "d"];
    for name in names {
        rig.deploy(name, "same").await;
    }
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = rig
            .client
            .list(None, after.as_deref(), Some(2))
            .await
            .unwrap();
        assert!(page.functions.len() <= 2);
        seen.extend(
            page.functions
                .into_iter()
                .map(|function| function.name.to_string()),
        );
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, names);
}

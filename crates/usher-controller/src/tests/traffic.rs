//! Aliases, splits and roll backs: what is prepared before, what is retired behind, who wins.

use usher_api::client::{Client, ClientError};
use usher_api::node::PrepareFault;
use usher_api::traffic::{Changed, ShareView};
use usher_core::fault::Blame;
use usher_core::id::RevisionId;
use usher_core::traffic::Alias;
use usher_core::traffic::wanted::Wanted;

use super::rig::{Asked, Rig, Setup, key};

fn wanted(texts: &[&str]) -> Vec<Wanted> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn alias(text: &str) -> Alias {
    text.parse().unwrap()
}

fn label<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> (u16, String) {
    match answer {
        Err(ClientError::Refused { status, error }) => (status.as_u16(), error.label),
        other => panic!("not refused: {other:?}"),
    }
}

async fn stage(rig: &Rig, content: &str) -> u64 {
    let request = rig.request("hello", content).await;
    let events = rig.client.stage_events(&request).await.unwrap();
    let staged = rig.client.outcome(events, &mut |_| {}).await.unwrap();
    assert!(staged.staged && !staged.created && !staged.unchanged);
    staged.number
}

async fn split(client: &Client, texts: &[&str]) -> Result<Changed, ClientError> {
    client.set_traffic(&key("hello"), wanted(texts)).await
}

fn shares(traffic: &[ShareView]) -> Vec<(u64, u32)> {
    let shares = traffic.iter();
    shares.map(|share| (share.revision, share.weight)).collect()
}

#[tokio::test]
async fn a_roll_back_prepares_the_old_one_first_and_retires_the_new_one_last() {
    let rig = Rig::new().await;
    let one = rig.deploy("hello", "one").await;
    let two = rig.deploy("hello", "two").await;
    let begin = rig.node.asked().len();
    let back = rig.client.roll_back(&key("hello"), None).await.unwrap();
    assert!(!back.unchanged);
    assert_eq!(back.function.revision.id, one);
    assert_eq!(back.function.revision.number, 1);
    let asked = [Asked::Prepare(one), Asked::Retire(two)];
    assert_eq!(rig.node.asked()[begin..], asked);
    // There and back again, then by name.
    let forth = rig.client.roll_back(&key("hello"), None).await.unwrap();
    assert_eq!(forth.function.revision.id, two);
    let to = one.to_string()[..12].parse().unwrap();
    let named = rig.client.roll_back(&key("hello"), Some(to)).await.unwrap();
    assert_eq!(named.function.revision.number, 1);
    let hello = key("hello");
    let again = rig.client.roll_back(&hello, Some("v1".parse().unwrap()));
    assert!(again.await.unwrap().unchanged);
}

#[tokio::test]
async fn what_is_staged_is_ready_and_a_split_gives_it_traffic() {
    let rig = Rig::new().await;
    let one = rig.deploy("hello", "one").await;
    assert_eq!(stage(&rig, "two").await, 2);
    let shown = rig.client.show(&key("hello")).await.unwrap();
    assert_eq!((shown.revision.id, shown.staged), (one, Some(2)));
    assert_eq!(shares(&shown.traffic), [(1, 100)]);
    let changed = split(&rig.client, &["v2=10", "v1=90"]).await.unwrap();
    assert_eq!(shares(&changed.function.traffic), [(1, 90), (2, 10)]);
    assert_eq!(changed.function.revision.number, 1, "the main one");
    assert_eq!(changed.function.staged, None);
    let two = changed.function.traffic[1].id;
    assert!(!rig.node.asked().contains(&Asked::Retire(two)));
    assert!(!rig.node.asked().contains(&Asked::Retire(one)));
    let revisions = rig.client.revisions(&key("hello")).await.unwrap().revisions;
    let told: Vec<_> = revisions
        .iter()
        .map(|it| {
            (
                it.number,
                it.restorable,
                it.traffic[0].weight,
                it.traffic[0].of,
            )
        })
        .collect();
    assert_eq!(told, [(2, true, 10, 100), (1, true, 90, 100)]);
    let all = split(&rig.client, &["latest"]).await.unwrap();
    assert_eq!(all.function.revision.number, 2);
    assert!(rig.node.asked().contains(&Asked::Retire(one)));
}

#[tokio::test]
async fn an_alias_has_addresses_and_keeps_its_revision_in_service() {
    let rig = Rig::new().await;
    let one = rig.deploy("hello", "one").await;
    let (hello, old) = (key("hello"), alias("old"));
    let set = rig.client.set_alias(&hello, &old, wanted(&["latest"]));
    let set = set.await.unwrap();
    let urls = [
        "http://old--hello.localhost:8080/",
        "http://127.0.0.1:8080/fn/hello@old/",
    ];
    assert_eq!(set.function.aliases[0].urls, urls);
    rig.deploy("hello", "two").await;
    assert!(!rig.node.asked().contains(&Asked::Retire(one)));
    let shown = rig.client.alias(&hello, &old).await.unwrap();
    assert_eq!(shares(&shown.traffic), [(1, 100)]);
    let all = rig.client.aliases(&hello).await.unwrap().aliases;
    let names: Vec<_> = all.iter().map(|it| it.alias.as_str()).collect();
    assert_eq!(names, ["live", "old"]);
    assert_eq!(shares(&all[0].traffic), [(2, 100)]);
    rig.client.delete_alias(&hello, &old).await.unwrap();
    rig.node.was_asked(Asked::Retire(one)).await;
    assert_eq!(rig.node.images.lock().len(), 1);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_with_a_word_for_each() {
    let rig = Rig::new().await;
    let hello = key("hello");
    let nobody = (404, "no-such-function".to_owned());
    assert_eq!(label(rig.client.roll_back(&hello, None).await), nobody);
    assert_eq!(label(rig.client.aliases(&hello).await), nobody);
    assert_eq!(label(split(&rig.client, &["v1"]).await), nobody);
    rig.deploy("hello", "one").await;
    let before = rig.client.show(&hello).await.unwrap();
    for (answer, status, word) in [
        (
            rig.client.roll_back(&hello, None).await,
            409,
            "nothing-before",
        ),
        (
            rig.client
                .roll_back(&hello, Some("v9".parse().unwrap()))
                .await,
            404,
            "no-such-revision",
        ),
        (split(&rig.client, &["v1=90"]).await, 422, "bad-split"),
        (split(&rig.client, &[]).await, 422, "bad-split"),
        (
            split(&rig.client, &["v1=50", "v2=50"]).await,
            404,
            "no-such-revision",
        ),
        (
            rig.client.delete_alias(&hello, &Alias::live()).await,
            409,
            "live-stays",
        ),
        (
            rig.client.delete_alias(&hello, &alias("old")).await,
            404,
            "no-such-alias",
        ),
    ] {
        assert_eq!(label(answer), (status, word.to_owned()));
    }
    let missing = rig.client.alias(&hello, &alias("old")).await;
    assert_eq!(label(missing), (404, "no-such-alias".to_owned()));
    assert_eq!(rig.client.show(&hello).await.unwrap(), before);
    let request = rig.request("other", "one").await;
    let events = rig.client.stage_events(&request).await.unwrap();
    let first = rig.client.outcome(events, &mut |_| {}).await;
    assert_eq!(label(first), (200, "first-without-traffic".to_owned()));
}

#[tokio::test]
async fn a_revision_that_cannot_be_made_ready_gets_no_traffic() {
    let rig = Rig::new().await;
    rig.deploy("hello", "one").await;
    let two = rig.deploy("hello", "two").await;
    let begin = rig.node.asked().len();
    let message = "its first program did not start".to_owned();
    let blame = Blame::Function;
    *rig.node.fault.lock() = Some(PrepareFault { blame, message });
    let refused = rig.client.roll_back(&key("hello"), None).await;
    assert_eq!(label(refused), (422, "not-deployable".to_owned()));
    let shown = rig.client.show(&key("hello")).await.unwrap();
    assert_eq!(shown.revision.id, two);
    assert!(!rig.node.asked()[begin..].contains(&Asked::Retire(two)));
}

/// Two controllers on one backbone: while ours prepares, theirs takes the revision away.
#[tokio::test]
async fn a_change_that_was_overtaken_is_judged_anew() {
    let rig = Rig::new().await;
    rig.deploy("hello", "one").await;
    rig.deploy("hello", "two").await;
    let other = Rig::over(rig.backbone.clone(), Setup::default()).await;
    let client = other.client.clone();
    *rig.node.meanwhile.lock() = Some(Box::new(move || {
        Box::pin(async move {
            client.delete(&key("hello")).await.unwrap();
        })
    }));
    let refused = rig.client.roll_back(&key("hello"), None).await;
    assert_eq!(label(refused), (404, "no-such-function".to_owned()));
    // What was made ready for it is given up.
    let one = match rig.node.asked()[..] {
        [Asked::Prepare(one), ..] => one,
        ref other => panic!("{other:?}"),
    };
    assert_eq!(rig.node.asked().last(), Some(&Asked::Retire(one)));
}

#[tokio::test]
async fn deleting_a_function_retires_all_that_is_in_service() {
    let rig = Rig::new().await;
    let one = rig.deploy("hello", "one").await;
    let old = wanted(&["v1"]);
    let (hello, name) = (key("hello"), alias("old"));
    let set = rig.client.set_alias(&hello, &name, old);
    set.await.unwrap();
    let two = rig.deploy("hello", "two").await;
    stage(&rig, "three").await;
    rig.client.delete(&key("hello")).await.unwrap();
    for id in [one, two] {
        assert!(rig.node.asked().contains(&Asked::Retire(id)));
    }
    assert!(rig.node.images.lock().is_empty());
}

#[tokio::test]
async fn environments_are_started_where_traffic_moves_before_the_record_is_written() {
    let rig = Rig::new().await;
    let one = rig.deploy("hello", "one").await;
    let two = rig.deploy("hello", "two").await;
    rig.node.clean.lock().insert(two, 5);
    let ahead = |ids: &[(RevisionId, u32)]| assert_eq!(*rig.node.ahead.lock(), ids);
    ahead(&[]);
    rig.client.roll_back(&key("hello"), None).await.unwrap();
    ahead(&[(one, 5)]);
    // One that has enough is left alone.
    rig.node.clean.lock().extend([(one, 5), (two, 5)]);
    rig.client.roll_back(&key("hello"), None).await.unwrap();
    ahead(&[(one, 5)]);
}

#[tokio::test]
async fn at_the_start_all_that_is_in_service_and_always_ready_is_prepared() {
    let first = Rig::new().await;
    let mut ids = Vec::new();
    for content in ["one", "two"] {
        let mut request = first.request("hello", content).await;
        request.settings.keep.ready_min = 1;
        let deployed = first.client.deploy(&request, |_| {}).await.unwrap();
        ids.push(deployed.function.revision.id);
    }
    let old = wanted(&["v1"]);
    let (hello, name) = (key("hello"), alias("old"));
    let set = first.client.set_alias(&hello, &name, old);
    set.await.unwrap();
    let second = Rig::over(first.backbone.clone(), Setup::default()).await;
    for id in ids {
        second.node.was_asked(Asked::Prepare(id)).await;
    }
}

//! What a watcher sees, in which order, and that it cannot miss how things end.

use bytes::Bytes;
use futures_util::StreamExt;

use super::{Harness, Known, known, learn, next};
use crate::{Backbone, Event, Op, WatchAfterError};

/// Runs every check of this module.
pub async fn all(harness: &dyn Harness) {
    what_is_there_comes_before_what_changes(&*harness.empty().await).await;
    a_watch_goes_on_from_a_revision(&*harness.empty().await).await;
    a_watch_cannot_start_in_the_future(&*harness.empty().await).await;
    a_batch_is_seen_in_its_order(&*harness.empty().await).await;
    a_late_reader_learns_how_it_ended(&*harness.empty().await).await;
    a_watch_ends_with_the_backbone(harness).await;
}

async fn what_is_there_comes_before_what_changes(backbone: &dyn Backbone) {
    let mut nothing = backbone.watch("a.").await.expect("a watch");
    assert!(matches!(next(&mut nothing).await, Event::Current { .. }));
    drop(nothing);
    for key in ["a.2", "a.1", "b.1"] {
        backbone.put(key, key.into()).await.expect("a write");
    }
    let listing = backbone.list("a.").await.expect("a listing");
    let mut watch = backbone.watch("a.").await.expect("a watch");
    for key in ["a.2", "a.1"] {
        let entry = listing.entries.iter().find(|entry| &*entry.key == key);
        let entry = entry.expect("an entry").clone();
        assert_eq!(next(&mut watch).await, Event::Put(entry));
    }
    let revision = listing.revision;
    assert_eq!(next(&mut watch).await, Event::Current { revision });

    backbone
        .put("b.2", "elsewhere".into())
        .await
        .expect("a write");
    let put = backbone.put("a.1", "new".into()).await.expect("a write");
    let entry = backbone
        .get("a.1")
        .await
        .expect("a read")
        .expect("an entry");
    assert_eq!((&entry.value[..], entry.revision), (&b"new"[..], put));
    let revision = backbone.delete("a.2", None).await.expect("a delete");
    assert_eq!(next(&mut watch).await, Event::Put(entry));
    let key = "a.2".into();
    assert_eq!(next(&mut watch).await, Event::Delete { key, revision });
}

async fn a_watch_goes_on_from_a_revision(backbone: &dyn Backbone) {
    backbone.put("a.1", "old".into()).await.expect("a write");
    let seen = backbone.list("a.").await.expect("a listing").revision;
    let put = backbone.put("a.2", "new".into()).await.expect("a write");
    backbone
        .put("b.1", "elsewhere".into())
        .await
        .expect("a write");
    let deleted = backbone.delete("a.1", None).await.expect("a delete");
    let mut watch = backbone.watch_after("a.", seen).await.expect("a watch");
    let Event::Put(entry) = next(&mut watch).await else {
        panic!("a put comes first");
    };
    assert_eq!((&*entry.key, entry.revision), ("a.2", put));
    let (key, revision) = ("a.1".into(), deleted);
    assert_eq!(next(&mut watch).await, Event::Delete { key, revision });
    assert_eq!(next(&mut watch).await, Event::Current { revision });
}

async fn a_watch_cannot_start_in_the_future(backbone: &dyn Backbone) {
    let last = backbone.put("a", "1".into()).await.expect("a write");
    let future = backbone.watch_after("", last + 1).await.map(drop);
    assert!(
        matches!(future, Err(WatchAfterError::Future { .. })),
        "{future:?}"
    );
}

async fn a_batch_is_seen_in_its_order(backbone: &dyn Backbone) {
    let mut watch = backbone.watch("").await.expect("a watch");
    assert!(matches!(next(&mut watch).await, Event::Current { .. }));
    let batch = ["c", "a", "b"].map(|key| Op::put(key, "v")).to_vec();
    let last = backbone.apply(batch).await.expect("a batch");
    for (key, revision) in [("c", last - 2), ("a", last - 1), ("b", last)] {
        let Event::Put(entry) = next(&mut watch).await else {
            panic!("a put was expected");
        };
        assert_eq!((&*entry.key, entry.revision), (key, revision));
    }
}

/// More is written than any backbone is asked to remember for a watcher.
async fn a_late_reader_learns_how_it_ended(backbone: &dyn Backbone) {
    const WRITES: usize = 10_000;
    let mut watch = backbone.watch("k.").await.expect("a watch");
    assert!(matches!(next(&mut watch).await, Event::Current { .. }));
    let ops = (0..WRITES).map(|n| {
        let key = format!("k.{}", n % 100);
        if n % 3 == 0 {
            Op::delete(key, None)
        } else {
            Op::put(key, Bytes::from(n.to_string()))
        }
    });
    let ops: Vec<_> = ops.collect();
    for batch in ops.chunks(50) {
        backbone.apply(batch.to_vec()).await.expect("a batch");
    }
    let last = backbone.put("k.last", Bytes::new()).await.expect("a write");
    let mut seen = Known::new();
    let mut revision = 0;
    while revision < last {
        let now = learn(&mut seen, &next(&mut watch).await);
        assert!(revision <= now, "revisions do not go down");
        revision = now;
    }
    // The last revision may come with a delete; a further write ends whatever it is part of.
    let end = backbone.put("k.end", Bytes::new()).await.expect("a write");
    while seen.get("k.end").is_none_or(|(_, at)| *at != end) {
        learn(&mut seen, &next(&mut watch).await);
    }
    assert_eq!(seen, known(backbone).await);
}

async fn a_watch_ends_with_the_backbone(harness: &dyn Harness) {
    let backbone = harness.empty().await;
    let mut watch = backbone.watch("").await.expect("a watch");
    backbone.put("a", "1".into()).await.expect("a write");
    let _reopened = harness.reopen(backbone).await;
    let rest: Vec<_> = watch.by_ref().collect().await;
    let is_put = |event: &Event| matches!(event, Event::Put(entry) if &*entry.key == "a");
    assert!(
        rest.iter().any(is_put),
        "what was written before the end is told: {rest:?}"
    );
}

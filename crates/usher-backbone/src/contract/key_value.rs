//! Reads, writes, expectations, batches and bounds.

use std::sync::Arc;

use bytes::Bytes;

use super::{Harness, known};
use crate::key::KEY_MAX_BYTES;
use crate::{Backbone, Op, ReadError, WriteError};

/// Runs every check of this module.
pub async fn all(harness: &dyn Harness) {
    a_written_value_is_read(&*harness.empty().await).await;
    revisions_count_all_writes(&*harness.empty().await).await;
    create_succeeds_where_nothing_is(&*harness.empty().await).await;
    update_and_delete_expect_a_revision(&*harness.empty().await).await;
    a_batch_happens_whole_or_not_at_all(&*harness.empty().await).await;
    a_listing_has_whole_tokens_in_order(&*harness.empty().await).await;
    what_is_out_of_bounds_is_refused(harness).await;
    one_of_many_creates_wins(harness.empty().await).await;
    no_update_is_lost(harness.empty().await).await;
    all_is_there_after_reopening(harness).await;
}

async fn a_written_value_is_read(backbone: &dyn Backbone) {
    assert_eq!(backbone.get("a.b").await.expect("a read"), None);
    for value in ["", "text", "\0\u{ff}binary"] {
        let value = Bytes::from(value);
        let revision = backbone.put("a.b", value.clone()).await.expect("a write");
        let entry = backbone
            .get("a.b")
            .await
            .expect("a read")
            .expect("an entry");
        assert_eq!((&*entry.key, entry.value), ("a.b", value));
        assert_eq!(entry.revision, revision);
    }
    backbone.delete("a.b", None).await.expect("a delete");
    assert_eq!(backbone.get("a.b").await.expect("a read"), None);
    backbone
        .delete("a.b", None)
        .await
        .expect("a delete of nothing");
}

async fn revisions_count_all_writes(backbone: &dyn Backbone) {
    let first = backbone.put("a", "1".into()).await.expect("a write");
    let second = backbone.put("b", "1".into()).await.expect("a write");
    let third = backbone.delete("a", None).await.expect("a delete");
    assert_eq!((second, third), (first + 1, first + 2));
    assert_eq!(backbone.list("").await.expect("a listing").revision, third);
}

async fn create_succeeds_where_nothing_is(backbone: &dyn Backbone) {
    let first = backbone.create("a", "1".into()).await.expect("a create");
    let again = backbone.create("a", "2".into()).await;
    assert_conflict(again, "a", Some(first));
    backbone.delete("a", None).await.expect("a delete");
    backbone
        .create("a", "3".into())
        .await
        .expect("a create after a delete");
}

async fn update_and_delete_expect_a_revision(backbone: &dyn Backbone) {
    assert_conflict(backbone.update("a", "1".into(), 1).await, "a", None);
    assert_conflict(backbone.delete("a", Some(1)).await, "a", None);
    let first = backbone.put("a", "1".into()).await.expect("a write");
    let second = backbone
        .update("a", "2".into(), first)
        .await
        .expect("an update");
    // The negative control: what was true a moment ago is not enough.
    assert_conflict(
        backbone.update("a", "3".into(), first).await,
        "a",
        Some(second),
    );
    assert_conflict(backbone.delete("a", Some(first)).await, "a", Some(second));
    // A write elsewhere does not disturb.
    backbone.put("b", "1".into()).await.expect("a write");
    backbone.delete("a", Some(second)).await.expect("a delete");
    assert_eq!(backbone.get("a").await.expect("a read"), None);
}

async fn a_batch_happens_whole_or_not_at_all(backbone: &dyn Backbone) {
    let first = backbone.put("b", "old".into()).await.expect("a write");
    let before = known(backbone).await;
    for failing in [Op::create("b", "new"), Op::update("b", "new", first + 1)] {
        let batch = vec![Op::put("a", "new"), failing, Op::put("c", "new")];
        assert_conflict(backbone.apply(batch).await, "b", Some(first));
        assert_eq!(
            known(backbone).await,
            before,
            "nothing of a failed batch is there"
        );
    }
    let batch = vec![
        Op::create("a", "new"),
        Op::update("b", "new", first),
        Op::delete("c", None),
    ];
    let last = backbone.apply(batch).await.expect("a batch");
    assert_eq!(
        last,
        first + 3,
        "a failed batch takes no revision, an op takes one"
    );
    let after = known(backbone).await;
    assert_eq!(after["a"], ("new".into(), last - 2));
    assert_eq!(after["b"], ("new".into(), last - 1));
    assert_eq!(after.len(), 2);
}

async fn a_listing_has_whole_tokens_in_order(backbone: &dyn Backbone) {
    for key in ["a.b.z", "a.b", "a.bc.d", "a.b.c", "b.b.c", "a.b-c"] {
        backbone.put(key, key.into()).await.expect("a write");
    }
    let keys = async |prefix: &str| {
        let listing = backbone.list(prefix).await.expect("a listing");
        let keys = listing.entries.iter().map(|entry| entry.key.to_string());
        keys.collect::<Vec<_>>()
    };
    assert_eq!(keys("a.b.").await, ["a.b.c", "a.b.z"]);
    assert_eq!(
        keys("a.").await,
        ["a.b", "a.b-c", "a.b.c", "a.b.z", "a.bc.d"]
    );
    assert_eq!(keys("").await.len(), 6);
    assert!(keys("none.").await.is_empty());
}

async fn what_is_out_of_bounds_is_refused(harness: &dyn Harness) {
    let backbone = harness.empty().await;
    let long = "k".repeat(KEY_MAX_BYTES + 1);
    for bad in ["", "a..b", ".a", "a.", "a b", "a*", "ä", &long] {
        let read = backbone.get(bad).await;
        assert!(matches!(read, Err(ReadError::BadKey(_))), "{bad:?}");
        let written = backbone.put(bad, Bytes::new()).await;
        assert!(matches!(written, Err(WriteError::BadKey(_))), "{bad:?}");
    }
    assert!(matches!(
        backbone.list("a").await,
        Err(ReadError::BadKey(_))
    ));
    assert!(backbone.watch("a").await.is_err());

    let largest = Bytes::from(vec![7; harness.value_max_bytes()]);
    backbone
        .put("large", largest.clone())
        .await
        .expect("the largest value");
    let too_large = Bytes::from(vec![7; harness.value_max_bytes() + 1]);
    let written = backbone.put("large", too_large).await;
    assert!(
        matches!(written, Err(WriteError::TooLarge { .. })),
        "{written:?}"
    );

    let ops = |count| {
        (0..count)
            .map(|n| Op::put(format!("k{n}"), "v"))
            .collect::<Vec<_>>()
    };
    let most = harness.batch_max_ops();
    backbone.apply(ops(most)).await.expect("the longest batch");
    for count in [0, most + 1] {
        let applied = backbone.apply(ops(count)).await;
        assert!(
            matches!(applied, Err(WriteError::BatchLength { .. })),
            "{applied:?}"
        );
    }
    let twice = vec![Op::put("a", "1"), Op::delete("a", None)];
    let applied = backbone.apply(twice).await;
    assert!(
        matches!(applied, Err(WriteError::DuplicateKey { .. })),
        "{applied:?}"
    );
    let entries = known(&*backbone).await;
    assert_eq!(
        entries.len(),
        most + 1,
        "nothing of what was refused is there"
    );
    assert_eq!(entries["large"].0, largest);
}

async fn one_of_many_creates_wins(backbone: Arc<dyn Backbone>) {
    let creates = (0..32).map(|n| {
        let backbone = backbone.clone();
        tokio::spawn(async move { backbone.create("a", format!("{n}").into()).await.is_ok() })
    });
    let mut wins = 0;
    for create in creates.collect::<Vec<_>>() {
        wins += u32::from(create.await.expect("a task"));
    }
    assert_eq!(wins, 1);
}

async fn no_update_is_lost(backbone: Arc<dyn Backbone>) {
    const TASKS: usize = 8;
    const UPDATES: usize = 8;
    backbone.put("count", "0".into()).await.expect("a write");
    let tasks = (0..TASKS).map(|_| {
        let backbone = backbone.clone();
        tokio::spawn(async move {
            for _ in 0..UPDATES {
                count_one(&*backbone).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("a task");
    }
    let entry = backbone
        .get("count")
        .await
        .expect("a read")
        .expect("an entry");
    assert_eq!(entry.value, (TASKS * UPDATES).to_string());
}

async fn count_one(backbone: &dyn Backbone) {
    loop {
        let entry = backbone
            .get("count")
            .await
            .expect("a read")
            .expect("an entry");
        let count: usize = std::str::from_utf8(&entry.value)
            .ok()
            .and_then(|text| text.parse().ok())
            .expect("a number");
        let next = Bytes::from((count + 1).to_string());
        match backbone.update("count", next, entry.revision).await {
            Ok(_) => return,
            Err(WriteError::Conflict { .. }) => {}
            Err(error) => panic!("an update failed: {error}"),
        }
    }
}

async fn all_is_there_after_reopening(harness: &dyn Harness) {
    let backbone = harness.empty().await;
    for n in 0..20 {
        let key = format!("k.{}", n % 7);
        backbone
            .put(&key, format!("{n}").into())
            .await
            .expect("a write");
    }
    let last = backbone.delete("k.3", None).await.expect("a delete");
    let before = known(&*backbone).await;
    let backbone = harness.reopen(backbone).await;
    assert_eq!(known(&*backbone).await, before);
    let next = backbone.put("k.3", "again".into()).await.expect("a write");
    assert_eq!(next, last + 1, "revisions go on where they were");
}

fn assert_conflict(result: Result<u64, WriteError>, wanted: &str, revision: Option<u64>) {
    match result {
        Err(WriteError::Conflict { key, current }) => {
            assert_eq!((&*key, current), (wanted, revision));
        }
        other => panic!("a conflict on {wanted:?} was expected, not {other:?}"),
    }
}

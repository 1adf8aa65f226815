//! Buckets over the embedded store: what is kept apart, what is atomic, what has bounds, what
//! lasts.

use std::collections::BTreeSet;
use std::path::Path;

use futures_util::future::join_all;
use usher_backbone::{Embedded, Limits};
use usher_core::bucket::{KEY_MAX_BYTES, OverBound};
use usher_core::id::FunctionKey;

use super::*;

/// Texts that another store may take for parts of a path, for ends, or for each other.
const ODD: [&str; 22] = [
    ".",
    "..",
    "a.b",
    "a..b",
    ".a",
    "a.",
    "/",
    "a/b",
    "../a",
    "*",
    ">",
    "$",
    " ",
    "\n",
    "\0",
    "a\0",
    "a\0b",
    "ä",
    "a\u{308}",
    "💧",
    "\u{202e}a",
    "A",
];

fn open(folder: &Path) -> BucketStore {
    BucketStore::new(Arc::new(Embedded::open(folder, Limits::default()).unwrap()))
}

fn grant() -> KeyValueGrant {
    KeyValueGrant {
        buckets: vec!["default".to_owned(), "owner:default".to_owned()],
        ..KeyValueGrant::default()
    }
}

fn bucket(owner: &str, name: &str, identifier: &str) -> Bucket {
    let function = FunctionKey {
        owner: owner.parse().unwrap(),
        name: name.parse().unwrap(),
    };
    let mut grant = grant();
    grant.buckets.push(identifier.to_owned());
    Bucket::granted(&function, &grant, identifier).unwrap()
}

async fn set(store: &BucketStore, bucket: &Bucket, key: &str, value: &str) {
    let entries = vec![(key.to_owned(), Bytes::from(value.to_owned()))];
    store.put(bucket, &grant(), entries).await.unwrap();
}

async fn get(store: &BucketStore, bucket: &Bucket, key: &str) -> Option<String> {
    let held = store.get(bucket, key).await.unwrap();
    held.map(|held| String::from_utf8(held.value.to_vec()).unwrap())
}

#[tokio::test]
async fn every_key_is_itself_and_no_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let it = bucket("a", "f", "default");
    let long = ["k".repeat(KEY_MAX_BYTES), "k".repeat(KEY_MAX_BYTES - 1)];
    let keys: Vec<_> = ODD.iter().map(|&key| key.to_owned()).chain(long).collect();
    for key in &keys {
        assert_eq!(get(&store, &it, key).await, None, "{key:?}");
        set(&store, &it, key, key).await;
    }
    for key in &keys {
        assert_eq!(get(&store, &it, key).await.as_ref(), Some(key));
    }
    let listed = store.keys(&it, None).await.unwrap();
    assert_eq!(listed.cursor, None);
    let listed: BTreeSet<_> = listed.keys.into_iter().collect();
    assert_eq!(listed, keys.iter().cloned().collect());
    let (last, rest) = keys.split_last().unwrap();
    store.delete(&it, rest.to_vec()).await.unwrap();
    let left = store.keys(&it, None).await.unwrap().keys;
    assert_eq!(left, std::slice::from_ref(last));
    for bad in [String::new(), "k".repeat(KEY_MAX_BYTES + 1)] {
        let refused = store.get(&it, &bad).await.unwrap_err();
        assert!(matches!(refused, BucketError::Over(_)), "{refused}");
    }
}

#[tokio::test]
async fn nothing_crosses_from_bucket_to_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let longest = "n".repeat(63);
    let all = [
        bucket("a", "f", "default"),
        bucket("a", "f", "other"),
        bucket("a", "g", "default"),
        bucket("a", "f", "owner:default"),
        bucket("b", "f", "default"),
        bucket("b", "f", "owner:default"),
        bucket(&longest, &longest, &longest),
    ];
    for (at, it) in all.iter().enumerate() {
        for key in ODD {
            assert_eq!(get(&store, it, key).await, None, "{it} {key:?}");
            set(&store, it, key, &at.to_string()).await;
        }
    }
    for (at, it) in all.iter().enumerate() {
        for key in ODD {
            assert_eq!(
                get(&store, it, key).await,
                Some(at.to_string()),
                "{it} {key:?}"
            );
        }
        assert_eq!(store.keys(it, None).await.unwrap().keys.len(), ODD.len());
    }
    // What all functions of an owner share is shared.
    let shared = bucket("a", "g", "owner:default");
    assert_eq!(get(&store, &shared, ".").await.as_deref(), Some("3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn additions_are_never_lost_and_swaps_notice_each_other() {
    const AT_ONCE: usize = 16;
    const EACH: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (it, grant) = (bucket("a", "f", "default"), grant());
    let add = async || {
        let mut sums = Vec::new();
        for _ in 0..EACH {
            sums.push(store.increment(&it, &grant, "n", 1).await.unwrap());
        }
        sums
    };
    let sums: BTreeSet<_> = join_all((0..AT_ONCE).map(|_| add()))
        .await
        .into_iter()
        .flatten()
        .collect();
    let all = i64::try_from(AT_ONCE * EACH).unwrap();
    assert_eq!(sums, (1..=all).collect());
    assert_eq!(get(&store, &it, "n").await, Some(all.to_string()));
    let swap = async |value: usize| {
        let value = Bytes::from(value.to_string());
        store.swap(&it, &grant, "new", None, value).await.unwrap()
    };
    let swaps = join_all((0..AT_ONCE).map(swap)).await;
    let done = swaps.iter().filter(|it| **it == Swapped::Done).count();
    assert_eq!(done, 1, "{swaps:?}");
    let held = store.get(&it, "new").await.unwrap().unwrap();
    let lost = swaps
        .iter()
        .filter(|it| **it == Swapped::Changed(Some(held.clone())));
    assert_eq!(lost.count(), AT_ONCE - 1);
    // The same value again is another version.
    let again = held.value.clone();
    let done = store
        .swap(&it, &grant, "new", Some(held.version), again.clone())
        .await
        .unwrap();
    assert_eq!(done, Swapped::Done);
    let stale = store
        .swap(&it, &grant, "new", Some(held.version), again)
        .await
        .unwrap();
    assert!(matches!(stale, Swapped::Changed(Some(_))), "{stale:?}");
}

#[tokio::test]
async fn bounds_hold_also_after_a_restart_and_room_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let it = bucket("a", "f", "default");
    let grant = KeyValueGrant {
        keys_max: 2,
        value_max_bytes: 4,
        bucket_max_bytes: 8,
        ..grant()
    };
    let put = async |store: &BucketStore, entries: &[(&str, &'static str)]| {
        let entries = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Bytes::from(*value)));
        store.put(&it, &grant, entries.collect()).await
    };
    let store = open(folder.path());
    put(&store, &[("a", "123"), ("b", "123")]).await.unwrap();
    drop(store);
    let store = open(folder.path());
    let over = |result: Result<(), BucketError>| match result.unwrap_err() {
        BucketError::Over(over) => over,
        other => panic!("{other}"),
    };
    assert_eq!(
        over(put(&store, &[("c", "")]).await),
        OverBound::Keys { most: 2 }
    );
    let fat = over(put(&store, &[("a", "1234")]).await);
    assert_eq!(fat, OverBound::Bucket { bytes: 9, most: 8 });
    assert!(matches!(
        over(put(&store, &[("a", "12345")]).await),
        OverBound::Value { .. }
    ));
    // A batch that does not fit as a whole is not written in part.
    assert!(put(&store, &[("a", ""), ("c", "")]).await.is_err());
    assert_eq!(get(&store, &it, "a").await.as_deref(), Some("123"));
    let many: Vec<_> = (0..=BATCH_MAX).map(|at| at.to_string()).collect();
    let refused = store.delete(&it, many).await.unwrap_err();
    assert!(matches!(refused, BucketError::Batch { .. }), "{refused}");
    store
        .delete(&it, vec!["b".to_owned(), "b".to_owned(), "z".to_owned()])
        .await
        .unwrap();
    put(&store, &[("c", "123")]).await.unwrap();
    let sum = store.increment(&it, &grant, "c", -200).await.unwrap();
    assert_eq!(sum, -77);
    let refused = store.increment(&it, &grant, "c", -9_000).await.unwrap_err();
    assert!(matches!(refused, BucketError::Over(_)), "{refused}");
    assert_eq!(get(&store, &it, "c").await.as_deref(), Some("-77"));
}

#[tokio::test]
async fn pages_together_are_the_whole_and_a_made_up_cursor_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let it = bucket("a", "f", "default");
    let wanted: Vec<_> = (0..PAGE_MAX_KEYS + BATCH_MAX)
        .map(|at| at.to_string())
        .collect();
    for batch in wanted.chunks(BATCH_MAX) {
        let entries = batch.iter().map(|key| (key.clone(), Bytes::new()));
        store.put(&it, &grant(), entries.collect()).await.unwrap();
    }
    let first = store.keys(&it, None).await.unwrap();
    assert_eq!(first.keys.len(), PAGE_MAX_KEYS);
    let rest = store.keys(&it, first.cursor.as_deref()).await.unwrap();
    assert_eq!(rest.cursor, None);
    let found: BTreeSet<_> = first.keys.into_iter().chain(rest.keys).collect();
    assert_eq!(found, wanted.into_iter().collect());
    for bad in [
        "",
        "0",
        "../../x",
        &"g".repeat(DIGITS),
        &"0".repeat(DIGITS + 1),
    ] {
        assert_eq!(
            store.keys(&it, Some(bad)).await,
            Err(BucketError::Cursor),
            "{bad}"
        );
    }
}

/// What a restore writes beside the store takes room from the next write on, if the store is told.
#[tokio::test]
async fn what_others_wrote_takes_room_once_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let entries = Arc::new(Embedded::open(folder.path(), Limits::default()).unwrap());
    let store = BucketStore::new(entries.clone());
    let others = BucketStore::new(entries);
    let it = bucket("a", "f", "default");
    let few = KeyValueGrant {
        keys_max: 3,
        ..grant()
    };
    let put = async |key: &str| {
        let entries = vec![(key.to_owned(), Bytes::from_static(b"v"))];
        store.put(&it, &few, entries).await
    };
    put("one").await.unwrap();
    set(&others, &it, "two", "v").await;
    // The control: untold it counts what it wrote itself.
    put("three").await.unwrap();
    put("four").await.unwrap();
    store.others_wrote().await;
    let refused = put("five").await;
    assert!(
        matches!(refused, Err(BucketError::Over(OverBound::Keys { .. }))),
        "{refused:?}"
    );
    store
        .delete(&it, vec!["one".to_owned(), "two".to_owned()])
        .await
        .unwrap();
    put("five").await.unwrap();
}

//! The store of buckets, over key-value with compare-and-set.
//!
//! ```text
//!   OWNER.FUNCTION.BUCKET . SHA-256(key) ──► length of the key │ key │ value
//!   write: its keys' turn ─► what is there ─► room reserved ─► applied on that condition
//! ```
//!
//! A key stands there by its digest, so that any text can be one, however long and of whatever
//! characters; the key itself stands before the value and is compared at each read. The store is
//! one of its own, beside that of the platform's records: what functions write can neither fill
//! that one nor push its changes out of the memory of those who watch them.
//!
//! Deliberately absent: who may open which bucket (`usher_core::bucket`).

mod room;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use usher_api::buckets::{
    Answer, BATCH_MAX, BucketError, Buckets, Held, PAGE_MAX_KEYS, Page, Swapped,
};
use usher_api::invoke::BoxFuture;
use usher_backbone::{Change, Entry, Expect, KeyValue, Op, ReadError, WriteError};
use usher_core::bucket::{self, Bucket};
use usher_core::function::KeyValueGrant;

use room::{Room, Wish};

/// How often a write is tried again where another process came between.
const TRIES_MAX: usize = 64;
/// Digits of a key's digest.
const DIGITS: usize = 64;

/// Buckets in a key-value store.
pub struct BucketStore {
    store: Arc<dyn KeyValue>,
    rooms: Mutex<HashMap<Bucket, Arc<Room>>>,
}

impl BucketStore {
    /// Buckets in a store that has nothing else.
    pub fn new(store: Arc<dyn KeyValue>) -> Self {
        Self {
            store,
            rooms: Mutex::default(),
        }
    }

    fn room(&self, bucket: &Bucket) -> Arc<Room> {
        let mut rooms = self.rooms.lock();
        rooms.entry(bucket.clone()).or_default().clone()
    }

    async fn held(&self, bucket: &Bucket, key: &str) -> Result<Option<Held>, BucketError> {
        bucket::check_key(key)?;
        let entry = self.store.get(&place(bucket, key)).await.map_err(unread)?;
        let Some(entry) = entry else { return Ok(None) };
        let (found, value) = parted(&entry).ok_or_else(damaged)?;
        match found == key {
            true => Ok(Some(Held {
                value,
                version: entry.revision,
            })),
            false => Err(damaged()),
        }
    }

    /// Makes the changes that `decide` answers, given what stands at `keys`, whose turn this is
    /// meanwhile: all of them or none. `decide` is asked again where somebody else came between.
    async fn change<T>(
        &self,
        bucket: &Bucket,
        grant: Option<&KeyValueGrant>,
        keys: &[&str],
        decide: impl Fn(&[Option<Held>]) -> Result<Decision<T>, BucketError>,
    ) -> Result<T, BucketError> {
        let room = self.room(bucket);
        let _turns = room.turns(keys).await;
        for _ in 0..TRIES_MAX {
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                found.push(self.held(bucket, key).await?);
            }
            let (wanted, answer) = match decide(&found)? {
                Decision::Write(wanted, answer) => (wanted, answer),
                Decision::Leave(answer) => return Ok(answer),
            };
            let wishes: Vec<_> = (keys.iter().zip(found).zip(wanted))
                .map(|((key, found), value)| Wish { key, found, value })
                // What is not there need not be taken away.
                .filter(|wish| wish.found.is_some() || wish.value.is_some())
                .collect();
            if wishes.is_empty() {
                return Ok(answer);
            }
            let batch = wishes.iter().map(|wish| op(bucket, wish)).collect();
            let applied = {
                let usage = room.usage(&*self.store, bucket).await?;
                let reserved = usage.reserve(&wishes, grant)?;
                let applied = self.store.apply(batch).await;
                if applied.is_ok() {
                    reserved.keep();
                }
                applied
            };
            match applied {
                Ok(_) => return Ok(answer),
                Err(WriteError::Conflict { .. }) => {}
                Err(WriteError::Io(error)) => {
                    // Whether it happened only the store knows.
                    room.forget().await;
                    return Err(BucketError::Unsure(error.to_string()));
                }
                Err(error) => return Err(BucketError::Unavailable(error.to_string())),
            }
        }
        let text = format!("others came between {TRIES_MAX} times in a row");
        Err(BucketError::Unavailable(text))
    }
}

/// What is made of what was found.
enum Decision<T> {
    /// These values, one for each key; none: it goes.
    Write(Vec<Option<Bytes>>, T),
    /// Nothing.
    Leave(T),
}

impl Buckets for BucketStore {
    fn get<'a>(&'a self, bucket: &'a Bucket, key: &'a str) -> Answer<'a, Option<Held>> {
        Box::pin(self.held(bucket, key))
    }

    fn put<'a>(
        &'a self,
        bucket: &'a Bucket,
        grant: &'a KeyValueGrant,
        entries: Vec<(String, Bytes)>,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            bounded(entries.len())?;
            let entries: BTreeMap<String, Bytes> = entries.into_iter().collect();
            let keys: Vec<_> = entries.keys().map(String::as_str).collect();
            let values = || entries.values().cloned().map(Some).collect();
            self.change(bucket, Some(grant), &keys, |_| {
                Ok(Decision::Write(values(), ()))
            })
            .await
        })
    }

    fn delete<'a>(&'a self, bucket: &'a Bucket, mut keys: Vec<String>) -> Answer<'a, ()> {
        Box::pin(async move {
            bounded(keys.len())?;
            keys.sort_unstable();
            keys.dedup();
            let keys: Vec<_> = keys.iter().map(String::as_str).collect();
            self.change(bucket, None, &keys, |_| {
                Ok(Decision::Write(vec![None; keys.len()], ()))
            })
            .await
        })
    }

    fn increment<'a>(
        &'a self,
        bucket: &'a Bucket,
        grant: &'a KeyValueGrant,
        key: &'a str,
        delta: i64,
    ) -> Answer<'a, i64> {
        Box::pin(async move {
            self.change(bucket, Some(grant), &[key], |found| {
                let value = found.first().and_then(Option::as_ref);
                let value = value.map(|held| held.value.as_ref());
                let sum = bucket::incremented(value, delta)?;
                Ok(Decision::Write(
                    vec![Some(Bytes::from(sum.to_string()))],
                    sum,
                ))
            })
            .await
        })
    }

    fn swap<'a>(
        &'a self,
        bucket: &'a Bucket,
        grant: &'a KeyValueGrant,
        key: &'a str,
        version: Option<u64>,
        value: Bytes,
    ) -> Answer<'a, Swapped> {
        Box::pin(async move {
            // The comparison and the write are one: the write itself expects that version.
            self.change(bucket, Some(grant), &[key], |found| {
                let held = found.first().cloned().flatten();
                Ok(match held.as_ref().map(|held| held.version) == version {
                    true => Decision::Write(vec![Some(value.clone())], Swapped::Done),
                    false => Decision::Leave(Swapped::Changed(held)),
                })
            })
            .await
        })
    }

    fn others_wrote(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let rooms: Vec<_> = self.rooms.lock().values().cloned().collect();
            for room in rooms {
                room.forget().await;
            }
        })
    }

    fn keys<'a>(&'a self, bucket: &'a Bucket, cursor: Option<&'a str>) -> Answer<'a, Page> {
        Box::pin(async move {
            let prefix = format!("{}.", bucket.place());
            let after = match cursor {
                Some(digits) if is_digest(digits) => format!("{prefix}{digits}"),
                Some(_) => return Err(BucketError::Cursor),
                None => String::new(),
            };
            let mut entries = self.store.list(&prefix).await.map_err(unread)?.entries;
            entries.retain(|entry| *entry.key > *after);
            let more = entries.len() > PAGE_MAX_KEYS;
            entries.truncate(PAGE_MAX_KEYS);
            let last = entries.last().filter(|_| more);
            let cursor = last.and_then(|last| last.key.strip_prefix(&*prefix));
            let keys = entries.iter().map(|entry| Some(parted(entry)?.0));
            Ok(Page {
                cursor: cursor.map(str::to_owned),
                keys: keys.collect::<Option<_>>().ok_or_else(damaged)?,
            })
        })
    }
}

fn bounded(entries: usize) -> Result<(), BucketError> {
    match entries {
        ..=BATCH_MAX => Ok(()),
        entries => Err(BucketError::Batch { entries }),
    }
}

/// Where a key stands. The longest place of a bucket and a digest are just what a key may have.
fn place(bucket: &Bucket, key: &str) -> String {
    let digest = Sha256::digest(key);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{digits}", bucket.place())
}

fn is_digest(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == DIGITS && text.bytes().all(digit)
}

fn op(bucket: &Bucket, wish: &Wish<'_>) -> Op {
    let expect = match &wish.found {
        Some(held) => Expect::Revision(held.version),
        None => Expect::Absent,
    };
    let change = match &wish.value {
        Some(value) => Change::Put(joined(wish.key, value)),
        None => Change::Delete,
    };
    Op {
        key: place(bucket, wish.key),
        change,
        expect,
    }
}

/// Key and value as they stand together; a key's length fits, as it is bounded.
fn joined(key: &str, value: &[u8]) -> Bytes {
    let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
    let mut all = BytesMut::with_capacity(2 + key.len() + value.len());
    all.put_u16(length);
    all.put_slice(key.as_bytes());
    all.put_slice(value);
    all.freeze()
}

/// The key and the value of an entry.
fn parted(entry: &Entry) -> Option<(String, Bytes)> {
    let (length, rest) = entry.value.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let key = str::from_utf8(rest.get(..length)?).ok()?.to_owned();
    Some((key, entry.value.slice(2 + length..)))
}

fn damaged() -> BucketError {
    BucketError::Unavailable("an entry is not one of this store".to_owned())
}

fn unread(error: ReadError) -> BucketError {
    BucketError::Unavailable(error.to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

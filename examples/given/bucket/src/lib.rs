//! Counts in a bucket, `?bucket=NAME`, or `default`: state that outlives the request on purpose.
//!
//! | query | what it does |
//! | --- | --- |
//! | `add=KEY` | adds one to a number |
//! | `swap=KEY` | the same by compare-and-swap, as often as it takes |
//! | `set=KEY&value=TEXT` | writes |
//! | `get=KEY`, `has=KEY`, `delete=KEY` | reads, looks, deletes |
//! | `batch=A,B&value=TEXT` | writes several at once, reads them back |
//! | `keys` | all keys, a line each |
//! | `fill=N&value=TEXT` | writes N keys, and answers how many were taken |
//! | `leak` | leaves a bucket and a look of a swap open |
//!
//! `?calls` answers how often this instance was called: "1" in every clean area.

use std::cell::Cell;
use std::mem::forget;

use wasi::keyvalue::atomics::{self, Cas, CasError};
use wasi::keyvalue::store::{Bucket, Error, open};
use wasi::keyvalue::batch;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({
    path: "../../../crates/usher-wasm/wit/keyvalue.wit",
    world: "wasi:keyvalue/imports",
});

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counts;

impl Guest for Counts {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        CALLS.set(CALLS.get() + 1);
        match answer(&request) {
            Ok(Some(text)) => guest::answer(out, 200, text.as_bytes()),
            Ok(None) => guest::answer(out, 404, b"none\n"),
            Err(Error::AccessDenied) => guest::answer(out, 403, b"denied\n"),
            Err(Error::NoSuchStore) => guest::answer(out, 404, b"no such store\n"),
            Err(Error::Other(said)) => guest::answer(out, 500, said.as_bytes()),
        }
    }
}

fn answer(request: &IncomingRequest) -> Result<Option<String>, Error> {
    let asked = |name| guest::query(request, name);
    if asked("calls").is_some() {
        return Ok(Some(CALLS.get().to_string()));
    }
    let name = asked("bucket");
    let bucket = open(name.as_deref().unwrap_or("default"))?;
    let value = asked("value").unwrap_or_default().into_bytes();
    if let Some(key) = asked("add") {
        return Ok(Some(atomics::increment(&bucket, &key, 1)?.to_string()));
    }
    if let Some(key) = asked("swap") {
        return Ok(Some(swapped(&bucket, &key)?.to_string()));
    }
    if let Some(key) = asked("set") {
        bucket.set(&key, &value)?;
        return Ok(Some("set".to_owned()));
    }
    if let Some(key) = asked("get") {
        return Ok(bucket.get(&key)?.map(text));
    }
    if let Some(key) = asked("has") {
        return Ok(Some(bucket.exists(&key)?.to_string()));
    }
    if let Some(key) = asked("delete") {
        bucket.delete(&key)?;
        return Ok(Some("deleted".to_owned()));
    }
    if let Some(keys) = asked("batch") {
        return at_once(&bucket, &keys, &value).map(Some);
    }
    if let Some(many) = guest::query_number(request, "fill") {
        return Ok(Some(fill(&bucket, many, &value).to_string()));
    }
    if asked("leak").is_some() {
        forget(Cas::new(&bucket, "leaked")?);
        forget(bucket);
        return Ok(Some("left".to_owned()));
    }
    keys(&bucket).map(Some)
}

/// Adds one by compare-and-swap; a swap that came too late brings a new look at the key.
fn swapped(bucket: &Bucket, key: &str) -> Result<u64, Error> {
    let mut look = Cas::new(bucket, key)?;
    loop {
        let number = look.current()?.map_or(0, |value| text(value).parse().unwrap_or(0)) + 1;
        match atomics::swap(look, number.to_string().as_bytes()) {
            Ok(()) => return Ok(number),
            Err(CasError::CasFailed(newer)) => look = newer,
            Err(CasError::StoreError(error)) => return Err(error),
        }
    }
}

fn at_once(bucket: &Bucket, keys: &str, value: &[u8]) -> Result<String, Error> {
    let keys: Vec<_> = keys.split(',').map(str::to_owned).collect();
    let entries: Vec<_> = keys.iter().map(|key| (key.clone(), value.to_vec())).collect();
    batch::set_many(bucket, &entries)?;
    let found = batch::get_many(bucket, &keys)?;
    let lines = found.into_iter().map(|(key, value)| {
        let value = value.map_or_else(|| "none".to_owned(), text);
        format!("{key}={value}")
    });
    let lines: Vec<_> = lines.collect();
    batch::delete_many(bucket, &keys)?;
    Ok(lines.join("\n"))
}

fn fill(bucket: &Bucket, many: u64, value: &[u8]) -> u64 {
    let taken = (0..many).take_while(|at| bucket.set(&format!("fill{at}"), value).is_ok());
    taken.count() as u64
}

fn keys(bucket: &Bucket) -> Result<String, Error> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        all.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            all.sort();
            return Ok(all.join("\n"));
        }
    }
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8_lossy(&value).into_owned()
}

wasip2::http::proxy::export!(Counts);

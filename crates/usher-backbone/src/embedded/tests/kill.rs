//! `kill -9` at any moment: every acknowledged write is there, and nothing is there by half.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::child::{Child, Mode};
use super::{Dice, start};
use crate::blobs::whole;
use crate::embedded::{Store, store};
use crate::{Backbone, Blobs, Embedded, KeyValue, Limits, Op};

const ROUNDS: u64 = 20;
const WRITERS: usize = 4;
const BLOB_BYTES: usize = 200_000;

/// Runs as a child: says `ack WHO WHAT .` for each write that was acknowledged, until killed.
pub(super) async fn write_and_tell(folder: &Path, mode: Mode) {
    let backbone: Arc<dyn Backbone> = if mode == Mode::Forgetful {
        let (store, loaded) = Store::open(store::file_opener(folder.join("store.redb"))).unwrap();
        Arc::new(start(folder, store.forgetful(), loaded, Limits::default()))
    } else {
        Arc::new(Embedded::open(folder, Limits::default()).unwrap())
    };
    for writer in 0..WRITERS {
        tokio::spawn(write_pairs(backbone.clone(), writer));
    }
    for number in 0_u64.. {
        let bytes = Bytes::from(number.to_string().repeat(BLOB_BYTES));
        let blob = backbone.put_blob(whole(bytes)).await.unwrap();
        tell(&format!("ack blob {} .", blob.digest));
    }
}

async fn write_pairs(backbone: Arc<dyn Backbone>, writer: usize) {
    for number in 1_u64.. {
        let keys = [format!("{writer}.a"), format!("{writer}.b")];
        let pair = keys.map(|key| Op::put(key, number.to_string()));
        backbone.apply(pair.to_vec()).await.unwrap();
        tell(&format!("ack {writer} {number} ."));
    }
}

/// The line begins anew, for the test runner may have begun one.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    write!(out, "\n{line}\n").unwrap();
    out.flush().unwrap();
}

/// What a killed child had acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// The last number of each writer.
    pairs: HashMap<String, u64>,
    blobs: Vec<String>,
}

impl Acknowledged {
    fn note(&mut self, line: &str) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["ack", "blob", digest, "."] => self.blobs.push(digest.into()),
            ["ack", writer, number, "."] => {
                self.pairs.insert(writer.into(), number.parse().unwrap());
            }
            _ => return false,
        }
        true
    }
}

/// Starts a child, kills it after `count` acknowledgements, and returns all it had made by then.
fn run_and_kill(mode: Mode, folder: &Path, count: u64) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let mut child = Child::start(mode, folder);
    let mut heard = 0;
    while heard < count {
        let line = child.lines.next().expect("the child goes on").unwrap();
        heard += u64::from(acknowledged.note(&line));
    }
    child.kill();
    for line in child.lines.by_ref().map_while(Result::ok) {
        acknowledged.note(&line);
    }
    acknowledged
}

/// How many writers have lost what was acknowledged. Panics on half a pair and on half a blob.
async fn count_lost(folder: &Path, acknowledged: &Acknowledged) -> usize {
    let backbone = Embedded::open(folder, Limits::default()).unwrap();
    let mut lost = 0;
    for writer in 0..WRITERS {
        let [a, b] = [format!("{writer}.a"), format!("{writer}.b")];
        let a = backbone.get(&a).await.unwrap();
        let b = backbone.get(&b).await.unwrap();
        let a = a.map(|entry| (entry.value, entry.revision + 1));
        let b = b.map(|entry| (entry.value, entry.revision));
        assert_eq!(a, b, "a pair of writer {writer}");
        let is = a.map_or(0, |(value, _)| {
            std::str::from_utf8(&value).unwrap().parse().unwrap()
        });
        let known = acknowledged
            .pairs
            .get(&writer.to_string())
            .copied()
            .unwrap_or(0);
        lost += usize::from(is < known);
    }
    for blob in backbone.list_blobs().await.unwrap() {
        assert!(backbone.get_blob(&blob.digest).await.unwrap().is_some());
    }
    for digest in &acknowledged.blobs {
        assert!(
            backbone.has_blob(&digest.parse().unwrap()).await.unwrap(),
            "{digest}"
        );
    }
    let incoming = std::fs::read_dir(folder.join("incoming")).unwrap();
    assert_eq!(incoming.count(), 0, "what was under way is cleared away");
    lost
}

#[tokio::test]
async fn what_is_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(7);
    for round in 0..ROUNDS {
        let count = 1 + dice.roll(60);
        let acknowledged = run_and_kill(Mode::Lasting, folder.path(), count);
        let lost = count_lost(folder.path(), &acknowledged).await;
        assert_eq!(lost, 0, "round {round}, killed after {count}");
    }
}

/// The negative control: a store that acknowledges before the disk has it is found out.
#[tokio::test]
async fn a_store_that_acknowledges_too_early_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = run_and_kill(Mode::Forgetful, folder.path(), 40);
    assert!(count_lost(folder.path(), &acknowledged).await > 0);
}

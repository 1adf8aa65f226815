//! What is no clone is started instead, and says why.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use usher_process::{Injection, Step};

use crate::equal::{cloned, image, programs, said, why_not};
use crate::rig::{Rig, SERVERS};

/// All files below a folder that have this name.
fn files(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&path, name)),
            false if path.ends_with(name) => found.push(path),
            false => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_whose_file_was_touched_makes_no_clone() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::at(folder.path());
    let image = image(&rig, SERVERS[0], "touched").await;
    let first = image.seat().await;
    let mut clone = image.seat().await;
    assert_eq!(said(&mut clone, "/counter").await, "1");
    assert_eq!(cloned(&rig), 1, "{:?}", why_not(&rig));
    let found = files(&folder.path().join("bundles"), "server");
    assert!(!found.is_empty());
    for file in found {
        let later = std::time::SystemTime::now();
        fs::File::open(file).unwrap().set_modified(later).unwrap();
    }
    let mut started = image.seat().await;
    assert_eq!(said(&mut started, "/counter").await, "1");
    assert_eq!(cloned(&rig), 1);
    let why = why_not(&rig).unwrap();
    assert!(why.contains("exchanged or changed"), "{why}");
    drop((first, clone, started, image));
    rig.engine.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_that_fails_in_any_step_is_started_and_leaves_nothing() {
    let rig = Rig::new();
    let value = "failing";
    let image = image(&rig, SERVERS[0], value).await;
    let _first = image.seat().await;
    for step in Step::CLONE {
        rig.engine.inject(Some((step, Injection::Fail)));
        let mut seat = image.seat().await;
        rig.engine.inject(None);
        let why = why_not(&rig).unwrap();
        assert!(why.contains("made to fail"), "{step:?}: {why}");
        assert_eq!(said(&mut seat, "/counter").await, "1", "{step:?}");
        drop(seat);
        // One that succeeds, so that the failures are none in a row.
        drop(image.seat().await);
        while programs(value).len() > 1 {
            tokio::task::yield_now().await;
        }
    }
    let failed = rig.engine.counters().not_cloned.load(Ordering::Relaxed);
    assert_eq!(failed, Step::CLONE.len() as u64);
    assert_eq!(cloned(&rig), failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_failures_in_a_row_no_clone_is_tried() {
    let rig = Rig::new();
    let image = image(&rig, SERVERS[0], "given-up").await;
    let _first = image.seat().await;
    rig.engine
        .inject(Some((Step::CloneMemory, Injection::Fail)));
    for _ in 0..6 {
        let mut seat = image.seat().await;
        assert_eq!(said(&mut seat, "/counter").await, "1");
    }
    rig.engine.inject(None);
    let mut seat = image.seat().await;
    assert_eq!(said(&mut seat, "/counter").await, "1");
    let counters = rig.engine.counters();
    assert_eq!(counters.not_cloned.load(Ordering::Relaxed), 4);
    assert_eq!(cloned(&rig), 0);
}

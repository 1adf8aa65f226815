//! What the cache keeps: compiled once, whole or made anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures_util::future::join_all;
use usher_core::function::Settings;
use usher_wasm::{Compiler, WasmEngine};

use crate::{Place, bench, guests};

fn compiled(engine: &WasmEngine) -> u64 {
    engine.counters().compiled.load(Ordering::Relaxed)
}

/// Every file in a folder whose name ends so.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_loads_of_one_artifact_compile_once() {
    let place = Place::new(Compiler::InProcess);
    let artifact = guests::silent("");
    let loads = (0..8).map(|_| place.load(&artifact));
    for image in join_all(loads).await {
        place.bench.start(&image.unwrap()).await;
    }
    assert_eq!(compiled(&place.bench.engine), 1);
    // Another artifact is another compilation.
    place.load(&guests::silent("(func)")).await.unwrap();
    assert_eq!(compiled(&place.bench.engine), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_over_one_folder_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let engines: Vec<_> = (0..4)
        .map(|_| bench(folder.path(), Compiler::InProcess))
        .collect();
    let artifact = Bytes::from(guests::silent(""));
    let loads = engines
        .iter()
        .map(|bench| bench.try_load(artifact.clone(), Settings::default()));
    for (bench, image) in engines.iter().zip(join_all(loads).await) {
        bench.start(&image.unwrap()).await;
    }
    assert_eq!(files(folder.path(), "entry.json").len(), 1);
}

#[tokio::test]
async fn the_cache_outlives_the_engine() {
    let place = Place::new(Compiler::InProcess);
    let artifact = guests::silent("");
    place.load(&artifact).await.unwrap();
    assert_eq!(compiled(&place.bench.engine), 1);
    let place = place.restarted();
    let image = place.load(&artifact).await;
    place.bench.start(&image.unwrap()).await;
    assert_eq!(compiled(&place.bench.engine), 0);
}

/// What a file says, less how long it took to make.
fn content(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).unwrap();
    let Ok(mut entry) = serde_json::from_slice::<serde_json::Value>(&bytes) else {
        return bytes;
    };
    entry.as_object_mut().unwrap().remove("took_us");
    entry.to_string().into_bytes()
}

/// Damages one file of an entry, and shows that a restarted engine makes the entry anew.
async fn made_anew(ending: &str, damage: impl Fn(&Path)) {
    let place = Place::new(Compiler::InProcess);
    let artifact = guests::silent("");
    place.load(&artifact).await.unwrap();
    let found = files(place.folder.path(), ending);
    let [file] = found.as_slice() else {
        panic!("one {ending} in {found:?}")
    };
    let whole = content(file);
    let place = place.restarted();
    damage(file);
    let image = place.load(&artifact).await;
    place.bench.start(&image.unwrap()).await;
    assert_eq!(compiled(&place.bench.engine), 1, "{ending}");
    assert!(content(file) == whole, "{ending} is whole again");
    let all = files(place.folder.path(), "");
    assert_eq!(all.len(), 3, "artifact, code and entry: {all:?}");
}

#[tokio::test]
async fn damaged_entries_are_made_anew() {
    made_anew(".cwasm", |file| {
        let mut code = fs::read(file).unwrap();
        let middle = code.len() / 2;
        code[middle] ^= 1;
        fs::write(file, code).unwrap();
    })
    .await;
    made_anew(".cwasm", |file| fs::write(file, b"").unwrap()).await;
    made_anew(".cwasm", |file| fs::remove_file(file).unwrap()).await;
    made_anew("entry.json", |file| fs::remove_file(file).unwrap()).await;
    made_anew("entry.json", |file| fs::write(file, b"{}").unwrap()).await;
}

/// What is loaded again is not read again for its sum, unless it was changed.
#[tokio::test]
async fn damage_is_found_by_an_engine_that_knew_the_file_whole() {
    let place = Place::new(Compiler::InProcess);
    let artifact = guests::silent("");
    for _ in 0..2 {
        drop(place.load(&artifact).await.unwrap());
    }
    assert_eq!(compiled(&place.bench.engine), 1);
    let found = files(place.folder.path(), ".cwasm");
    let mut code = fs::read(&found[0]).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::write(&found[0], code).unwrap();
    let image = place.load(&artifact).await.unwrap();
    place.bench.start(&image).await;
    assert_eq!(compiled(&place.bench.engine), 2);
}

//! No generator of a runtime says the same in two clones; one that nobody begins anew does.

use std::collections::HashSet;
use std::fs;

use crate::equal::{cloned, image, said, why_not};
use crate::rig::{Example, Rig, count};

/// Clones that are asked.
const CLONES: u64 = 4;
/// Generators of CPython and its library.
const SOURCES: [&str; 5] = ["random", "uuid4", "secrets", "ssl", "tempfile"];
/// The program's own, that repeats: the control.
const SEEDED: &str = "seeded";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_value_repeats_in_clones_of_python() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("app.py"), include_str!("values.py")).unwrap();
    fs::write(folder.path().join("function.toml"), "").unwrap();
    let example = Example {
        name: folder.path().to_str().unwrap().to_owned().leak(),
        command: &["/usr/bin/python3", "app.py"],
        handler: None,
    };
    let rig = Rig::new();
    let image = image(&rig, example, "values").await;
    let _first = image.seat().await;
    let mut made = 0;
    for source in SOURCES.iter().chain([&SEEDED]) {
        let mut values = HashSet::new();
        for _ in 0..count(CLONES) {
            let mut seat = image.seat().await;
            let told = said(&mut seat, &format!("/{source}")).await;
            let (calls, value) = told.split_once(' ').unwrap();
            assert_eq!(calls, "1", "{source}: not a clean program");
            values.insert(value.to_owned());
            made += 1;
        }
        assert_eq!(cloned(&rig), made, "{:?}", why_not(&rig));
        match *source {
            SEEDED => assert_eq!(values.len(), 1, "the control does not repeat"),
            _ => assert_eq!(values.len() as u64, count(CLONES), "{source}: {values:?}"),
        }
    }
}

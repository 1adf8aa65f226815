//! Nothing is left of programs that end badly: it is counted, in a process that runs no other test.
//!
//! `USHER_COUNT` says how many programs crash, hang or are out of memory (200 if it is not set).
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "shared with other tests")]
#[path = "sandbox/rig.rs"]
mod rig;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use usher_process::sandbox::Exit;

use crate::rig::Rig;

/// Programs that end badly.
fn count() -> usize {
    let told = std::env::var("USHER_COUNT").ok();
    told.map_or(200, |count| count.parse().unwrap())
}

/// What there is of each kind, as far as it is this process's.
fn census() -> BTreeMap<&'static str, usize> {
    let below = |path: &str| fs::read_dir(path).unwrap().count();
    let own = format!("\nPPid:\t{}\n", std::process::id());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let children = processes.filter(|entry| {
        let status = fs::read_to_string(entry.path().join("status"));
        status.is_ok_and(|status| status.contains(&own))
    });
    [
        ("descriptors", below("/proc/self/fd")),
        ("threads", below("/proc/self/task")),
        ("children", children.count()),
        (
            "mounts",
            fs::read_to_string("/proc/self/mountinfo")
                .unwrap()
                .lines()
                .count(),
        ),
    ]
    .into()
}

/// Folders of control groups below those of the platform in `state`.
fn groups(state: &Path) -> Vec<std::path::PathBuf> {
    let noted = fs::read(state.join("groups.json")).unwrap();
    let noted: Vec<std::path::PathBuf> = serde_json::from_slice(&noted).unwrap();
    let there = noted.iter().filter(|folder| folder.is_dir());
    let below = there.flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let below = below.map(|entry| entry.path()).filter(|path| path.is_dir());
    below.collect()
}

#[tokio::test]
async fn programs_that_end_badly_leave_nothing() {
    let rig = Rig::new(0).await;
    let state = rig.folder.path().join("state");
    // What is made once is there from now on.
    rig.run(rig.launch(&["true"])).await;
    let before = census();
    // A program that is there is counted.
    let program = rig.start(rig.launch(&["sleep", "1000"])).await;
    assert!(census()["descriptors"] > before["descriptors"]);
    assert_ne!(groups(&state), Vec::<std::path::PathBuf>::new());
    assert_eq!(rig.sandboxes.alive(), 1);
    program.kill().await;
    for round in 0..count() {
        match round % 4 {
            0 => {
                let crash = rig
                    .run(rig.launch(&["sh", "-c", "sleep 9 & kill -SEGV $$"]))
                    .await;
                assert_eq!(crash.exit, Exit::Signal(11));
            }
            1 => {
                let mut hog = rig.launch(&["python3", "-c", "x = bytearray(1 << 28)"]);
                hog.bounds.memory_max_bytes = 24 << 20;
                assert_eq!(rig.run(hog).await.exit, Exit::OutOfMemory);
            }
            2 => {
                let hang = rig.launch(&["sh", "-c", "trap '' TERM; sleep 1000 & wait; sleep 1000"]);
                let hang = rig.start(hang).await;
                hang.terminate();
                hang.kill().await;
            }
            _ => drop(rig.sandboxes.shell().await.unwrap()),
        }
    }
    rig.sandboxes.close().await;
    assert_eq!(rig.sandboxes.alive(), 0);
    assert_eq!(groups(&state), Vec::<std::path::PathBuf>::new());
    let mut after = census();
    // The spawner has gone too, and its socket.
    for (what, count) in &before {
        let after = after.remove(what).unwrap();
        assert!(after <= *count, "{what}: {count} became {after}");
    }
}

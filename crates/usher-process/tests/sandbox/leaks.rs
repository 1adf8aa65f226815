//! Nothing is left of a platform or spawner that is killed, nor by callers that give up.
//!
//! What programs leave that end badly is counted in a process of its own (`tests/leaks.rs`).

use std::fs;
use std::path::Path;

use usher_process::sandbox::{Exit, Sandboxes};

use crate::means::Platform;
use crate::rig::{Rig, options};

/// Folders of control groups below those of the platform in `state`.
fn groups(state: &Path) -> Vec<std::path::PathBuf> {
    let noted = fs::read(state.join("groups.json")).unwrap();
    let noted: Vec<std::path::PathBuf> = serde_json::from_slice(&noted).unwrap();
    let there = noted.iter().filter(|folder| folder.is_dir());
    let below = there.flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let below = below.map(|entry| entry.path()).filter(|path| path.is_dir());
    below.collect()
}

/// Processes of a spawner in this folder.
fn spawned(spawner: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ours = processes.filter(|entry| {
        let exe = fs::read_link(entry.path().join("exe"));
        exe.is_ok_and(|exe| exe.to_string_lossy().contains(spawner))
    });
    ours.count()
}

#[tokio::test]
async fn callers_that_give_up_leave_nothing() {
    let rig = Rig::new(0).await;
    let state = rig.folder.path().join("state");
    // Each gives up a little later than the one before, wherever that may be.
    for polls in 0..24 {
        let mut shell = std::pin::pin!(rig.sandboxes.shell());
        for _ in 0..polls {
            tokio::select! {
                biased;
                _ = &mut shell => break,
                () = tokio::task::yield_now() => {}
            }
        }
    }
    for polls in 0..24 {
        let shell = rig.sandboxes.shell().await.unwrap();
        let mut launch = std::pin::pin!(shell.launch(rig.launch(&["sleep", "1000"])));
        for _ in 0..polls {
            tokio::select! {
                biased;
                _ = &mut launch => break,
                () = tokio::task::yield_now() => {}
            }
        }
    }
    // It waits until all have gone.
    rig.sandboxes.close().await;
    assert_eq!(groups(&state), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_killed_spawner_takes_its_sandboxes_along_and_is_replaced() {
    let rig = Rig::new(2).await;
    let program = rig.start(rig.launch(&["sleep", "1000"])).await;
    let parent = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        line.unwrap().parse::<u32>().unwrap()
    };
    let spawner = parent(parent(program.pid()));
    let spawner = rustix::process::Pid::from_raw(spawner.cast_signed()).unwrap();
    rustix::process::kill_process(spawner, rustix::process::Signal::KILL).unwrap();
    assert!(matches!(program.exited().await, Exit::Lost(_)));
    program.kill().await;
    let mut ran = None;
    // The platform may not have seen yet that the stock is dead.
    for _ in 0..4 {
        let Ok(shell) = rig.sandboxes.shell().await else {
            continue;
        };
        if let Ok(program) = shell.launch(rig.launch(&["true"])).await {
            ran = Some(crate::rig::ran(program).await.exit);
            break;
        }
    }
    assert_eq!(ran, Some(Exit::Code(0)));
}

#[tokio::test]
async fn a_killed_platform_leaves_nothing_and_the_next_start_cleans() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().to_str().unwrap().to_owned();
    let state = folder.path().join("state");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut platform = Platform::start(folder, &[], &[]);
    let pids: Vec<u32> = (0..3)
        .map(|_| platform.run("hang").parse().unwrap())
        .collect();
    for pid in &pids {
        assert!(Path::new(&format!("/proc/{pid}")).exists());
    }
    assert!(spawned(&mark) >= 5 && !groups(&state).is_empty());
    platform.child.kill().unwrap();
    platform.child.wait().unwrap();
    // The next start waits until all of the last one has gone.
    let sandboxes = Sandboxes::open(options(&state, 0)).await.unwrap();
    for pid in &pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
    assert_eq!(spawned(&mark), 0);
    assert_eq!(groups(&state), Vec::<std::path::PathBuf>::new());
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
    sandboxes.close().await;
    let mut files: Vec<_> = fs::read_dir(&state).unwrap().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = files.iter().map(fs::DirEntry::file_name).collect();
    assert_eq!(
        names,
        ["groups.json", "platform.lock", "root", "sandboxes.lock"]
    );
    assert_eq!(fs::read_dir(state.join("root")).unwrap().count(), 0);
}

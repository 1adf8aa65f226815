//! A platform that dies while it makes a clone leaves no process and no control group behind.
//!
//! ```text
//! test ─starts itself again, for a step─► platform ─► program, clone ─► dies in that step
//!   └─► opens the sandboxes that it had, which waits for all of it to have gone, and counts
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use usher_process::sandbox::Sandboxes;
use usher_process::{Injection, Step};

use crate::equal::image;
use crate::rig::{MARK, Rig, SERVERS, sandboxes};
use crate::scan;

/// Names the step in which this process is to die, by its place among those of a clone.
const STEP: &str = "USHER_TEST_CLONE_DIES_IN";
/// And the folder of its engine.
const FOLDER: &str = "USHER_TEST_CLONE_DIES_AT";
const THIS: &str = "dying::a_platform_that_dies_while_it_clones_leaves_nothing";

/// Serves until it dies.
async fn serve(step: Step, folder: &Path) {
    let rig = Rig::at(folder);
    let image = image(&rig, SERVERS[0], "dying").await;
    let _first = image.seat().await;
    rig.engine.inject(Some((step, Injection::Abort)));
    let _clone = image.seat().await;
}

/// Processes of a platform with this number and folder: what makes its sandboxes, their first
/// processes, which run from there, and programs, which are marked.
fn left(folder: &Path, platform: u32) -> Vec<u32> {
    let marked = format!("{MARK}={platform}-");
    let ours = scan::processes().into_iter();
    ours.filter(|&pid| scan::runs_from(pid, folder) || scan::has_variable(pid, &marked))
        .collect()
}

/// Folders of control groups below those of the platform.
fn groups(folder: &Path) -> Vec<PathBuf> {
    let noted = fs::read(folder.join("sandboxes/groups.json")).unwrap();
    let noted: Vec<PathBuf> = serde_json::from_slice(&noted).unwrap();
    let there = noted.iter().filter(|folder| folder.is_dir());
    let below = there.flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
    let below = below.map(|entry| entry.path()).filter(|path| path.is_dir());
    below.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_platform_that_dies_while_it_clones_leaves_nothing() {
    if let (Ok(step), Some(folder)) = (std::env::var(STEP), std::env::var_os(FOLDER)) {
        let step: usize = step.parse().unwrap();
        return serve(Step::CLONE[step], Path::new(&folder)).await;
    }
    for (at, step) in Step::CLONE.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // What runs from there is known by it.
        let spawner = sandboxes(folder).program;
        fs::copy(spawner, folder.join("sandbox-spawner")).unwrap();
        let mut platform = Command::new(std::env::current_exe().unwrap());
        let platform = platform.args(["--exact", THIS]).env(STEP, at.to_string());
        let platform = platform
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let platform = platform.spawn().unwrap();
        let number = platform.id();
        let ended = platform.wait_with_output().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&ended.status);
        let said = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(signal, Some(6), "{step:?}: it does not die: {said}");
        // The next start waits until all of the last one has gone.
        let next = Sandboxes::open(sandboxes(folder)).await.unwrap();
        next.close().await;
        assert_eq!(left(folder, number), Vec::<u32>::new(), "{step:?}");
        assert_eq!(groups(folder), Vec::<PathBuf>::new(), "{step:?}");
    }
}

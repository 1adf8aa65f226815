//! A program that crashes has none of its memory written anywhere, whatever the machine does with
//! core dumps.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use usher_core::function::Isolation;
use usher_engine::contract::get;

use crate::rig::{Guest, Rig, built};

const ABORTED: i32 = 6;

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => all.extend(files(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all.sort_unstable();
    all
}

/// A file of the program's process, as the kernel has it.
fn said(pid: u32, name: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_writes_no_core() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::at(folder.path());
    let image = rig.hostile(Guest::C, Isolation::Request, "").await;
    let mut seat = image.seat().await;
    let pid = seat.pid().unwrap();
    assert_eq!(said(pid, "coredump_filter").trim(), "00000000");
    let limits = said(pid, "limits");
    let core = limits.lines().find(|line| line.starts_with("Max core"));
    let core: Vec<&str> = core.unwrap().split_whitespace().collect();
    assert_eq!(core[4..6], ["1", "1"], "{core:?}");
    // A child, in a folder where the program may write.
    for _ in 0..2 {
        let told = seat.ask("/crash").await.told;
        assert_eq!(told, format!("signal {ABORTED}, not dumped, 0 files"));
    }
    // And the program itself, of which the platform has nothing afterwards but what it had.
    let (before, here) = (files(folder.path()), files(Path::new(".")));
    assert!(seat.answer(get("http://hostile.test/end")).await.is_none());
    let after = files(folder.path());
    let new: Vec<_> = after.iter().filter(|it| !before.contains(it)).collect();
    assert!(new.is_empty(), "{new:?}");
    assert_eq!(files(Path::new(".")), here);
}

/// The control: outside of a sandbox the same crash is dumped, as this machine is set.
#[test]
fn a_crash_outside_of_a_sandbox_is_dumped() {
    let folder = tempfile::tempdir().unwrap();
    let server = built("hostile-c").join("server");
    // It asks for a dump by itself.
    let mut command = Command::new(server);
    let command = command.arg("crash").current_dir(folder.path());
    let status = command.stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(ABORTED));
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert!(status.core_dumped(), "core_pattern is {pattern}");
}

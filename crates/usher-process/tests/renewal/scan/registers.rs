//! The registers of a program's threads, read by a little tracer of this test's own, which is a
//! process: this one has unsafe code nowhere.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::Needles;

/// The tracer, compiled once.
fn tracer() -> &'static Path {
    static TRACER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = TRACER.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registers");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/renewal/scan/registers.c");
        let mut gcc = Command::new("gcc");
        let compiled = gcc.args(["-O1", "-o"]).arg(&path).arg(source).status();
        assert!(compiled.unwrap().success(), "gcc is needed");
        (folder, path)
    });
    path
}

/// Thread, registers that calls keep, and all bytes.
fn read(pid: u32) -> Vec<(String, String, Vec<u8>)> {
    let read = Command::new(tracer())
        .arg(pid.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(read.stdout).unwrap();
    let parsed = |line: &str| {
        let (kept, hex) = line.split_once('|')?;
        let (thread, kept) = kept.split_once(' ')?;
        let bytes = (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16));
        Some((
            thread.to_owned(),
            kept.to_owned(),
            bytes.collect::<Result<_, _>>().ok()?,
        ))
    };
    text.lines().filter_map(parsed).collect()
}

/// Notes the registers of threads that wait in the kernel.
pub(super) fn kept(pid: u32, all: &mut BTreeMap<String, String>) {
    for (thread, kept, _) in read(pid) {
        all.insert(format!("registers {thread}"), kept);
    }
}

/// Threads in whose registers a needle stands.
pub(super) fn hits(pid: u32, needles: &Needles) -> Vec<String> {
    let found = read(pid)
        .into_iter()
        .filter(|(_, _, bytes)| needles.find(bytes).is_some());
    found
        .map(|(thread, ..)| format!("registers of thread {thread}"))
        .collect()
}

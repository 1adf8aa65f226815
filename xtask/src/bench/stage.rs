//! What every benchmark needs before it measures: the platform's build, and programs of the
//! distribution.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::child::{Watched, cargo};
use crate::{examples, workspace};

/// Building the platform or the functions, and compiling one for a peer, each; in seconds.
const MAKE_MAX_S: u64 = 45 * 60;
/// Where the distribution has programs that are not in everybody's `PATH`.
const SYSTEM_FOLDER: &str = "/usr/sbin";

/// The platform's binary: `other` if it is given, else built.
pub(super) fn build_usher(other: Option<&Path>) -> Result<PathBuf> {
    if let Some(other) = other {
        return Ok(other.to_path_buf());
    }
    println!("building the platform; from nothing that takes minutes");
    let root = workspace::root();
    let mut build = Command::new(cargo());
    build.args(["build", "--release", "--locked", "--package", "usher"]);
    make("building the platform", build.current_dir(&root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    Ok(root.join(target).join("release/usher"))
}

/// Where a program is; installs the distribution's package if it is nowhere.
pub(super) fn install(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(found) = find(program) {
        return Ok(found);
    }
    examples::apt(&[package])?;
    let found = find(program);
    found.ok_or_else(|| anyhow::anyhow!("{package} brought no program {program}"))
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from(SYSTEM_FOLDER)]);
    let mut places = folders.map(|folder| folder.join(program));
    places.find(|place| place.is_file())
}

/// Runs a command to its end; what it said is shown only if it failed.
pub(super) fn make(name: &str, command: &mut Command) -> Result<()> {
    let mut said = Vec::new();
    let limit = Duration::from_secs(MAKE_MAX_S);
    let status = Watched::start(name, command)?.finish(limit, |line| said.push(line.to_owned()))?;
    let last = said.len().saturating_sub(40);
    ensure!(
        status.success(),
        "{name} failed ({status}):\n{}",
        said[last..].join("\n")
    );
    Ok(())
}

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

/// How what is measured is compiled: as what is given to users, see the root `Cargo.toml`.
const PROFILE: &str = "dist";

/// What was compiled to be measured.
pub(super) struct Built {
    /// The platform's binary.
    pub(super) usher: PathBuf,
    /// This program, whose peers are servers too: compiled like the platform.
    pub(super) xtask: PathBuf,
}

/// Builds both; of the platform, `other` if it is given.
pub(super) fn build(other: Option<&Path>) -> Result<Built> {
    println!("building what is measured; from nothing that takes half an hour");
    let root = workspace::root();
    let mut build = Command::new(cargo());
    // The whole workspace's features, or the two would have dependencies of their own.
    build.args(["build", "--profile", PROFILE, "--locked", "--workspace"]);
    build.args(["--bin", "xtask"]);
    if other.is_none() {
        build.args(["--bin", "usher"]);
    }
    make("building the platform", build.current_dir(&root))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let built = root.join(target).join(PROFILE);
    Ok(Built {
        usher: other.map_or(built.join("usher"), Path::to_path_buf),
        xtask: built.join("xtask"),
    })
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

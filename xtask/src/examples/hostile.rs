//! How a hostile program, or a leak probe that is a program, becomes a folder: its sources, and
//! what is compiled of them. They need no packages, so that nothing is fetched.
//!
//! A change in this file makes all of them anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command;
use super::http::CC;
use super::source::{self, Guest};
use super::tools::{self, Tools};

/// Makes `guest` into the folder `target`.
///
/// # Errors
/// The compiler's own words, if it refuses.
pub(super) fn build(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let folder = tools.scratch(guest.language.folder()).join(&guest.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    match guest.name.as_str() {
        "c" => c(guest, &folder)?,
        "python" | "node" => {}
        other => bail!("{other}: xtask/src/examples/hostile.rs has no recipe for it"),
    }
    for file in source::tree(&guest.folder)? {
        // Of what is compiled only the program is taken along.
        let name = file.file_name().unwrap_or_default();
        if !matches!(file.extension(), Some(kind) if kind == "c" || kind == "h") {
            fs::copy(&file, folder.join(name))
                .with_context(|| format!("copying {}", file.display()))?;
        }
    }
    let _ = fs::remove_dir_all(target);
    fs::rename(&folder, target).with_context(|| format!("making {}", target.display()))
}

/// Static, with the small libc, and with no more optimisation than makes its own use of registers
/// and of the stack easy to foresee.
fn c(guest: &Guest, folder: &Path) -> Result<()> {
    if !command::works(CC, &["--version"]) {
        tools::apt(&["musl-tools"])?;
    }
    let mut cc = Command::new(CC);
    cc.args(["-std=gnu17", "-D_GNU_SOURCE", "-O1", "-s", "-static"]);
    // To read what was left in memory is what they are there for.
    cc.args(["-pthread", "-Wall", "-Wextra", "-Werror"]);
    cc.args(["-Wno-uninitialized", "-Wno-maybe-uninitialized"]);
    for file in source::tree(&guest.folder)? {
        if file.extension().is_some_and(|kind| kind == "c") {
            // Named without its folder, so that no path of this machine gets into the program.
            cc.arg(file.file_name().unwrap_or_default());
        }
    }
    cc.arg("-o").arg(folder.join("server"));
    command::run(cc.current_dir(&guest.folder)).map(drop)
}

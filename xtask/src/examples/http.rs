//! How a server that listens on `$PORT` becomes a folder which can be deployed: its sources, and
//! the packages that it needs beside them.
//!
//! What is built is for the interpreters under `/usr`, which are all that a sandbox sees. A change
//! in this file makes every server anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command;
use super::source::Guest;
use super::tools::{self, Tools};

/// Debian's interpreter, and not another one that a user may have before it.
const PYTHON: &str = "/usr/bin/python3";
const NPM: &str = "/usr/bin/npm";
const GO: &str = "/usr/bin/go";
/// A small libc, linked in: the program is to run where nothing else is.
pub(super) const CC: &str = "/usr/bin/musl-gcc";

/// Makes `guest` into the folder `target`.
///
/// # Errors
/// The package manager's or compiler's own words, if it refuses.
pub(super) fn build(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let folder = tools.scratch("http").join(&guest.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    copy(&guest.folder, &folder, "function.toml")?;
    match guest.name.as_str() {
        "c" => c(guest, &folder)?,
        "go" => go(guest, tools, &folder)?,
        "node-express" | "node-http" => node(guest, &folder)?,
        "python-flask" | "python-uvicorn" => python(guest, &folder)?,
        other => bail!("{other}: xtask/src/examples/http.rs has no recipe for it"),
    }
    let _ = fs::remove_dir_all(target);
    fs::rename(&folder, target).with_context(|| format!("making {}", target.display()))
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<()> {
    let (from, to) = (from.join(name), to.join(name));
    fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

/// Static, so that it runs in a sandbox with nothing in it.
fn c(guest: &Guest, folder: &Path) -> Result<()> {
    if !command::works(CC, &["--version"]) {
        tools::apt(&["musl-tools"])?;
    }
    let mut cc = Command::new(CC);
    cc.args([
        "-std=gnu17",
        "-D_GNU_SOURCE",
        "-Os",
        "-s",
        "-static",
        "-pthread",
    ]);
    cc.args(["-Wall", "-Wextra", "-Werror"]);
    cc.arg("server.c").arg("-o").arg(folder.join("server"));
    command::run(cc.current_dir(&guest.folder)).map(drop)
}

fn go(guest: &Guest, tools: &Tools, folder: &Path) -> Result<()> {
    if !command::works(GO, &["version"]) {
        tools::apt(&["golang-go"])?;
    }
    let mut go = Command::new(GO);
    go.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]);
    go.arg(folder.join("server")).arg(".");
    // Nothing is fetched: it needs the standard library only.
    go.env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOCACHE", tools.scratch("go-cache"));
    command::run(go.current_dir(&guest.folder)).map(drop)
}

fn node(guest: &Guest, folder: &Path) -> Result<()> {
    for file in ["app.js", "package.json", "package-lock.json"] {
        copy(&guest.folder, folder, file)?;
    }
    if !command::works(NPM, &["--version"]) {
        tools::apt(&["nodejs", "npm"])?;
    }
    let mut npm = Command::new(NPM);
    npm.args(["install", "--omit=dev", "--ignore-scripts"]);
    npm.args(["--no-audit", "--no-fund"]);
    command::run(npm.current_dir(folder))?;
    // npm writes into these where each package came from, which differs from machine to machine.
    copy(&guest.folder, folder, "package-lock.json")?;
    let hidden = folder.join("node_modules/.package-lock.json");
    fs::remove_file(&hidden).with_context(|| format!("removing {}", hidden.display()))
}

fn python(guest: &Guest, folder: &Path) -> Result<()> {
    copy(&guest.folder, folder, "app.py")?;
    if !command::works(PYTHON, &["-m", "pip", "--version"]) {
        tools::apt(&["python3", "python3-pip"])?;
    }
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip", "install", "--quiet", "--no-compile"]);
    pip.args(["--disable-pip-version-check", "--root-user-action=ignore"]);
    // All of them are in the list, so that none is chosen anew on another day.
    pip.arg("--no-deps");
    pip.arg("--target").arg(folder).arg("-r");
    command::run(pip.arg(guest.folder.join("requirements.txt"))).map(drop)
}

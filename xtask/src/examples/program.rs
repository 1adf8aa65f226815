//! How a function that is a Linux program becomes a folder which can be deployed: its sources, and
//! the packages that it needs beside them.
//!
//! What is built is for the interpreters under `/usr`, which are all that a sandbox sees. A change
//! in this file makes every program anew.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::command;
use super::source::Guest;
use super::tools::{self, Tools};

/// Debian's packages for the Node client, whose add-on is compiled with two libraries of its own.
const NODE_BUILD: [&str; 7] = [
    "autoconf", "automake", "cmake", "g++", "libtool", "make", "python3",
];

/// Makes `guest` into the folder `target`.
///
/// # Errors
/// The package manager's or compiler's own words, if it refuses.
pub(super) fn build(guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let folder = tools.scratch("program").join(&guest.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    copy(&guest.folder, &folder, "function.toml")?;
    match guest.name.as_str() {
        "python" => python(guest, &folder)?,
        "node" => node(guest, tools, &folder)?,
        "rust" => rust(guest, tools, &folder)?,
        other => bail!("{other}: xtask/src/examples/program.rs has no recipe for it"),
    }
    let _ = fs::remove_dir_all(target);
    fs::rename(&folder, target).with_context(|| format!("making {}", target.display()))
}

fn copy(from: &Path, to: &Path, name: &str) -> Result<()> {
    let (from, to) = (from.join(name), to.join(name));
    fs::copy(&from, to).with_context(|| format!("copying {}", from.display()))?;
    Ok(())
}

fn python(guest: &Guest, folder: &Path) -> Result<()> {
    copy(&guest.folder, folder, "app.py")?;
    let python = "/usr/bin/python3";
    if !command::works(python, &["-m", "pip", "--version"]) {
        tools::apt(&["python3", "python3-pip"])?;
    }
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--quiet", "--no-compile"]);
    pip.args(["--disable-pip-version-check", "--root-user-action=ignore"]);
    pip.arg("--target").arg(folder).arg("-r");
    command::run(pip.arg(guest.folder.join("requirements.txt"))).map(drop)
}

/// Only the client itself is taken along: it is one file and its add-on, and all that npm puts
/// beside it served to compile the latter.
fn node(guest: &Guest, tools: &Tools, folder: &Path) -> Result<()> {
    for file in ["app.mjs", "package.json"] {
        copy(&guest.folder, folder, file)?;
    }
    let work = tools.scratch("lambda-node");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    for file in ["package.json", "package-lock.json"] {
        copy(&guest.folder, &work, file)?;
    }
    if !command::works("/usr/bin/npm", &["--version"]) {
        tools::apt(&["nodejs", "npm"])?;
    }
    let there = [
        "autoreconf",
        "automake",
        "cmake",
        "g++",
        "libtoolize",
        "make",
    ];
    if !there
        .iter()
        .all(|tool| command::works(tool, &["--version"]))
    {
        tools::apt(&NODE_BUILD)?;
    }
    let mut npm = Command::new("/usr/bin/npm");
    npm.args(["install", "--no-audit", "--no-fund"]);
    command::run(npm.current_dir(&work))?;
    let client = Path::new("node_modules/aws-lambda-ric");
    let to = folder.join(client);
    fs::create_dir_all(&to)?;
    for file in [
        "index.mjs",
        "rapid-client.node",
        "package.json",
        "LICENSE",
        "NOTICE",
    ] {
        copy(&work.join(client), &to, file)?;
    }
    Ok(())
}

fn rust(guest: &Guest, tools: &Tools, folder: &Path) -> Result<()> {
    let target = tools.scratch("lambda-rust");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--locked"]);
    cargo.current_dir(&guest.folder);
    cargo.env("CARGO_TARGET_DIR", &target);
    for ours in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(ours);
    }
    command::run(&mut cargo)?;
    copy(&target.join("release"), folder, "bootstrap")
}

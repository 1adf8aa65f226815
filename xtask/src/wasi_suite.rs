//! `cargo xtask wasi-suite FOLDER`: the public test suite of WASI, run against ours.
//!
//! FOLDER is a checkout of the suite's branch that holds its programs prebuilt
//! (`prod/testsuite-base`); nothing of it is ours, and nothing of it is kept here. The suite's own
//! runner judges; `wasi_suite/adapter.py` tells it how ours is started: services by `usher serve`,
//! and command line programs, which no function is, over the same host functions. What the runtime
//! below ours is known to do otherwise stands in `wasi_suite/expectations.toml`.
//!
//! Deliberately absent: a verdict without the suite. No folder, no cases: that is an error.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// What is run of the suite.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A checkout of the suite with prebuilt programs.
    folder: PathBuf,
    /// Only the cases whose name begins so.
    #[arg(long, default_value = "http-")]
    filter: String,
}

/// Where the suite keeps its programs for WASI 0.3.
const CASES: &str = "tests/rust/testsuite/wasm32-wasip3";

/// Runs the cases, and fails if one of them does.
///
/// # Errors
/// The suite is not there, something cannot be built, or a case failed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let suite = fs::canonicalize(&args.folder)
        .with_context(|| format!("{} cannot be read", args.folder.display()))?;
    let chosen = tempfile::tempdir().context("making a folder")?;
    let cases = choose(&suite.join(CASES), &args.filter, chosen.path())?;
    println!("{cases} cases of the public test suite");
    build(&root)?;
    let python = python(&root, &suite)?;
    let target = root.join("target/release");
    let status = Command::new(python)
        .args(["-m", "wasi_test_runner", "--disable-colors", "-t"])
        .arg(chosen.path())
        .arg("-e")
        .arg(root.join("xtask/src/wasi_suite/expectations.toml"))
        .arg("-r")
        .arg(root.join("xtask/src/wasi_suite/adapter.py"))
        .current_dir(suite.join("test-runner"))
        .env("USHER", target.join("usher"))
        .env("USHER_RUN_COMMAND", target.join("examples/run-command"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .status()
        .context("starting the suite's runner")?;
    ensure!(status.success(), "a case failed");
    Ok(())
}

/// Copies the chosen cases, with what the suite says of them all, and counts them.
fn choose(cases: &Path, filter: &str, into: &Path) -> Result<usize> {
    let reading = || {
        format!(
            "{} cannot be read: is it the suite's branch with prebuilt programs?",
            cases.display()
        )
    };
    let mut found = 0;
    for entry in fs::read_dir(cases).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name == "manifest.json" || name.starts_with(filter) {
            fs::copy(&path, into.join(&*name)).with_context(|| format!("copying {name}"))?;
            found += usize::from(name.ends_with(".wasm"));
        }
    }
    ensure!(found > 0, "no case of the suite begins with {filter}");
    Ok(found)
}

fn build(root: &Path) -> Result<()> {
    // All crates are named, so that what they share is built as for tests.
    let status = Command::new("cargo")
        .args(["build", "--release", "--workspace", "--bin", "usher"])
        .args(["--example", "run-command"])
        .current_dir(root)
        .status()
        .context("starting cargo")?;
    ensure!(status.success(), "ours could not be built");
    Ok(())
}

/// Python with what the suite's runner needs.
fn python(root: &Path, suite: &Path) -> Result<PathBuf> {
    let venv = root.join("target/wasi-suite");
    let python = venv.join("bin/python");
    if python.exists() {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    let made = make.args(["-m", "venv", "--clear"]).arg(&venv).status();
    ensure!(
        made.context("starting python3")?.success(),
        "no virtual environment: install Debian's python3 and python3-venv"
    );
    let installed = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "-r"])
        .arg(suite.join("test-runner/requirements.txt"))
        .status()
        .context("starting pip")?;
    if !installed.success() {
        // Half an environment would be taken for a whole one the next time.
        fs::remove_dir_all(&venv).context("removing the virtual environment")?;
    }
    ensure!(
        installed.success(),
        "pip could not install what the suite's runner needs"
    );
    Ok(python)
}

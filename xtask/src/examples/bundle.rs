//! The few functions that are committed, so that the demo needs no tool chain: `examples/bundled`.
//!
//! A component is committed as it is built, and of a program's folder the program alone.
//! `versions.toml` there says which tools made them, from which sources, and what came out. The
//! test below fails when a source was changed and the bundle was not; `--verify` builds them again.
//!
//! Deliberately absent: how they are used (the binary includes the files as they are).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::command;
use super::http;
use super::source::{self, Guest};
use super::stamp;
use super::tools::{self, Tools};

/// The functions, by file name.
const BUNDLED: [&str; 9] = [
    "c-counter.wasm",
    "c-hello.wasm",
    "c-leak-probe.wasm",
    "http-c",
    "rust-counter.wasm",
    "rust-echo.wasm",
    "rust-hello.wasm",
    "rust-leak-probe.wasm",
    "rust-slow.wasm",
];

/// The program in the folder that a bundled program's recipe makes.
const PROGRAM: &str = "server";

/// The most that a bundled function takes, in bytes.
const BUNDLED_MAX_BYTES: u64 = 150 * 1024;

/// `versions.toml`: what made the bundled functions, and what they are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Versions {
    /// What each tool calls itself.
    tools: BTreeMap<String, String>,
    /// By file name.
    function: BTreeMap<String, Record>,
}

/// One function: what went in, what came out (SHA-256, hexadecimal).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    sources: String,
    sha256: String,
}

/// Whether `guest` is one of them.
pub(super) fn holds(guest: &Guest) -> bool {
    BUNDLED.contains(&guest.file_name().as_str())
}

/// Copies the functions from `built` and records them.
///
/// # Errors
/// One is missing or too big, or a tool does not tell its version.
pub(super) fn refresh(root: &Path, built: &Path) -> Result<()> {
    let folder = folder(root);
    fs::create_dir_all(&folder)?;
    let mut function = BTreeMap::new();
    for guest in guests(root)? {
        let name = guest.file_name();
        let made = made(&guest, built);
        let bytes =
            fs::copy(&made, folder.join(&name)).with_context(|| format!("copying {name}"))?;
        ensure!(
            bytes <= BUNDLED_MAX_BYTES,
            "{name} has {bytes} bytes: too many to commit"
        );
        function.insert(name, record(root, &guest, &made)?);
    }
    let versions = Versions {
        tools: versions(root)?,
        function,
    };
    let text = toml::to_string(&versions).context("writing versions.toml")?;
    fs::write(folder.join("versions.toml"), text).context("writing versions.toml")?;
    println!("{} functions in {}", BUNDLED.len(), folder.display());
    Ok(())
}

/// Compares the bundled functions with those in `built`, byte by byte where the tools are the
/// same.
///
/// # Errors
/// A function is not what the recorded tools make of its source.
pub(super) fn verify(root: &Path, built: &Path) -> Result<()> {
    let recorded = read(root)?;
    let here = versions(root)?;
    if here != recorded.tools {
        println!(
            "the bundle was made by other tools ({:?}), not compared",
            recorded.tools
        );
        return Ok(());
    }
    for guest in guests(root)? {
        let name = guest.file_name();
        let rebuilt = record(root, &guest, &made(&guest, built))?;
        ensure!(
            recorded.function.get(&name) == Some(&rebuilt),
            "examples/bundled/{name} is not what its source makes: cargo xtask examples --bundle"
        );
    }
    println!("examples/bundled: the same bytes as built here");
    Ok(())
}

fn folder(root: &Path) -> PathBuf {
    root.join("examples/bundled")
}

fn read(root: &Path) -> Result<Versions> {
    let text = fs::read_to_string(folder(root).join("versions.toml"));
    toml::from_str(&text.context("reading examples/bundled/versions.toml")?)
        .context("examples/bundled/versions.toml")
}

fn guests(root: &Path) -> Result<Vec<Guest>> {
    let mut guests = source::discover(root)?;
    guests.retain(holds);
    ensure!(
        guests.len() == BUNDLED.len(),
        "a bundled function has no source in examples/"
    );
    Ok(guests)
}

/// The one file of what was built that is bundled.
fn made(guest: &Guest, built: &Path) -> PathBuf {
    let made = built.join(guest.file_name());
    match guest.language.is_program() {
        true => made.join(PROGRAM),
        false => made,
    }
}

fn record(root: &Path, guest: &Guest, file: &Path) -> Result<Record> {
    Ok(Record {
        sources: stamp::sources(root, guest)?,
        sha256: stamp::of_file(file)?,
    })
}

fn versions(root: &Path) -> Result<BTreeMap<String, String>> {
    let tools = Tools::new(root);
    let wasm_tools = command::run(Command::new(tools.program("wasm-tools")).arg("--version"))?;
    let zig = ["-m", "ziglang", "version"];
    let zig = command::run(Command::new(tools.program("python")).args(zig))?;
    let rustc = tools::rustc_version().context("rustc does not tell its version")?;
    let gcc = command::run(Command::new(http::CC).arg("--version"))?;
    let gcc = gcc.lines().next().unwrap_or_default().to_owned();
    // The wrapper tells the compiler's version, but not that of the libc which is linked in.
    let musl = ["--show", "--showformat=${Version}", "musl-dev"];
    let musl = command::run(Command::new("dpkg-query").args(musl))?;
    let named = [
        ("musl", musl),
        ("musl-gcc", gcc),
        ("rustc", rustc),
        ("wasm-tools", wasm_tools),
        ("zig", zig),
    ];
    Ok(named
        .map(|(name, version)| (name.to_owned(), version.trim().to_owned()))
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundled_components_are_of_todays_sources() -> Result<()> {
        let root = super::super::workspace();
        let recorded = read(&root)?;
        assert_eq!(recorded.function.len(), BUNDLED.len());
        for guest in guests(&root)? {
            let name = guest.file_name();
            let here = record(&root, &guest, &folder(&root).join(&name))?;
            let refresh = "changed: cargo xtask examples --bundle";
            assert_eq!(
                recorded.function.get(&name),
                Some(&here),
                "{name} {refresh}"
            );
        }
        Ok(())
    }
}

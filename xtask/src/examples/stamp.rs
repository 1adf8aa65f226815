//! Whether a component is what its sources, its tools and its recipe would make again.
//!
//! The stamp is a file beside the component, `.NAME.wasm.stamp`, with two digests in hexadecimal:
//! of what went in, and of what came out.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::source::{self, Guest, Language};
use super::tools;

/// A changed recipe makes every component anew.
const RECIPE: &[u8] = include_bytes!("recipe.rs");
/// And a changed recipe for programs every program.
const PROGRAM: &[u8] = include_bytes!("program.rs");
/// And a changed recipe for servers every server.
const HTTP: &[u8] = include_bytes!("http.rs");
/// And a changed recipe for components of wasi:http 0.3 those.
const SERVICE: &[u8] = include_bytes!("service.rs");
/// And so on.
const HOSTILE: &[u8] = include_bytes!("hostile.rs");

/// The digest of the files that `guest` is made of: names, relative to the workspace, and contents.
///
/// # Errors
/// A file cannot be read.
pub(super) fn sources(root: &Path, guest: &Guest) -> Result<String> {
    let mut hash = Sha256::new();
    for file in source::files(root, guest)? {
        let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .to_string_lossy()
            .into_owned();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}

/// The digest of all that decides the bytes of `guest`: sources, versions of tools, recipe.
///
/// # Errors
/// A file cannot be read.
pub(super) fn digest(root: &Path, guest: &Guest) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(sources(root, guest)?);
    if guest.language.is_program() {
        hash.update(match guest.language {
            Language::Http => HTTP,
            Language::Hostile | Language::Probe => HOSTILE,
            _ => PROGRAM,
        });
        return Ok(hex(&hash.finalize()));
    }
    hash.update(RECIPE);
    let pins = root.join("examples/requirements.txt");
    hash.update(fs::read(&pins).with_context(|| format!("reading {}", pins.display()))?);
    match guest.language {
        Language::RustP3 => hash.update(crates(root, "rust-p3")?),
        Language::JsP3 | Language::PyP3 => {
            let lock = root.join("examples/js/package-lock.json");
            hash.update(fs::read(&lock).with_context(|| format!("reading {}", lock.display()))?);
            hash.update(SERVICE);
        }
        _ => hash.update(crates(root, "rust")?),
    }
    if matches!(guest.language, Language::Rust | Language::RustP3) {
        hash.update(tools::rustc_version().unwrap_or_default());
    }
    Ok(hex(&hash.finalize()))
}

/// The crates from the registry that the lock file of `examples/WORKSPACE` pins: those of `rust`
/// bring the WIT for all components of wasi:http 0.2.
/// Our own crates are left out, so that a new function makes no other one stale.
fn crates(root: &Path, workspace: &str) -> Result<String> {
    let lock = root.join("examples").join(workspace).join("Cargo.lock");
    let text = fs::read_to_string(&lock).with_context(|| format!("reading {}", lock.display()))?;
    let packages = text.split("[[package]]");
    Ok(packages
        .filter(|package| package.contains("checksum = "))
        .collect())
}

/// The digest of a component's bytes, or of all that a program's folder holds.
fn of_made(made: &Path) -> Result<String> {
    if !made.is_dir() {
        return of_file(made);
    }
    let mut hash = Sha256::new();
    for file in source::tree(made)? {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(of_file(&file)?);
    }
    Ok(hex(&hash.finalize()))
}

/// The digest of one file's bytes.
///
/// # Errors
/// It cannot be read.
pub(super) fn of_file(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}

/// Whether `component` was made from what `digest` names and has not been changed since.
pub(super) fn is_current(component: &Path, digest: &str) -> bool {
    let Ok(stamp) = fs::read_to_string(beside(component)) else {
        return false;
    };
    of_made(component).is_ok_and(|made| stamp == text(digest, &made))
}

/// Notes that `component` was made from what `digest` names.
///
/// # Errors
/// The component cannot be read or the stamp not be written.
pub(super) fn write(component: &Path, digest: &str) -> Result<()> {
    let stamp = beside(component);
    fs::write(&stamp, text(digest, &of_made(component)?))
        .with_context(|| format!("writing {}", stamp.display()))
}

fn text(digest: &str, made: &str) -> String {
    format!("{digest}\n{made}\n")
}

fn beside(component: &Path) -> PathBuf {
    let name = component.file_name().unwrap_or_default().to_string_lossy();
    component.with_file_name(format!(".{name}.stamp"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

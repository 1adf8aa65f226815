//! Functions that ask for more than wasi:http, configuration or buckets: `examples/given`, in Rust
//! and in Python, built with WIT of ours beside that of the world.
//!
//! They stand apart from `source`, `stamp` and `recipe`, so that the crates and the WIT which only
//! they need make no other component anew. A change in this file, or in `recipe`, makes all of them
//! anew.
//!
//! Deliberately absent: JavaScript, whose tool chain carries a world of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::command;
use super::recipe::rust_in;
use super::source::{self, Guest, Language};
use super::tools::{self, Tools};

/// See the module; Rust is built as all Rust functions are.
const RECIPES: [&[u8]; 2] = [include_bytes!("given.rs"), include_bytes!("recipe.rs")];
/// The folder of these functions.
const FOLDER: &str = "examples/given";
/// Where the WIT is, which the engine is made with too.
const WIT: &str = "crates/usher-wasm/wit";
/// What all of them are made of, beside their own folder.
const SHARED: [&str; 7] = [
    "examples/given/Cargo.toml",
    "examples/given/Cargo.lock",
    "examples/given/.cargo/config.toml",
    "examples/rust/guest/Cargo.toml",
    "examples/rust/guest/src/lib.rs",
    "examples/py/guest.py",
    "examples/requirements.txt",
];
/// A Python function's own world, in its folder: Rust's macro makes bindings of several.
const WORLD: &str = "world.wit";

/// All of them, sorted by name.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn discover(root: &Path) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for entry in fs::read_dir(root.join(FOLDER)).context(FOLDER)? {
        let folder = entry.context(FOLDER)?.path();
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if folder.join("function.toml").is_file() {
            let language = match folder.join("Cargo.toml").is_file() {
                true => Language::Rust,
                false => Language::Py,
            };
            let name = name.to_owned();
            guests.push(Guest {
                language,
                name,
                folder,
            });
        }
    }
    guests.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(guests)
}

/// Whether `guest` is one of them.
pub(super) fn holds(root: &Path, guest: &Guest) -> bool {
    guest.folder.starts_with(root.join(FOLDER))
}

/// The digest of all that decides the bytes of `guest`.
///
/// # Errors
/// A file cannot be read.
pub(super) fn digest(root: &Path, guest: &Guest) -> Result<String> {
    let mut hash = Sha256::new();
    for recipe in RECIPES {
        hash.update(recipe);
    }
    hash.update(tools::rustc_version().unwrap_or_default());
    let mut files: Vec<_> = SHARED.iter().map(|file| root.join(file)).collect();
    files.extend(source::tree(&guest.folder)?);
    files.extend(source::tree(&root.join(WIT))?);
    for file in files {
        let bytes = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(root).unwrap_or(&file);
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let digest = hash.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes `guest` into the component `target`.
///
/// # Errors
/// The compiler's own words, if it refuses.
pub(super) fn build(root: &Path, guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    match guest.language {
        Language::Rust => rust_in(&root.join(FOLDER), "given", guest, tools, target),
        _ => python(root, guest, tools, target),
    }
}

/// Built from a copy, because the interpreter leaves its compiled files beside the sources.
fn python(root: &Path, guest: &Guest, tools: &Tools, target: &Path) -> Result<()> {
    let folder = tools.scratch("given-py").join(&guest.name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let shared = root.join("examples/py/guest.py");
    for source in [shared, guest.folder.join("app.py")] {
        let copy: PathBuf = folder.join(source.file_name().unwrap_or_default());
        fs::copy(&source, copy).with_context(|| format!("copying {}", source.display()))?;
    }
    let mut componentize = Command::new(tools.program("componentize-py"));
    componentize.arg("-d").arg(tools.wit()?);
    let keyvalue = root.join(WIT).join("keyvalue.wit");
    componentize.arg("-d").arg(keyvalue);
    componentize.arg("-d").arg(guest.folder.join(WORLD));
    let name = &guest.name;
    componentize.arg("-w").arg(format!("usher:{name}/{name}"));
    componentize
        .args(["componentize", "app", "-o"])
        .arg(target)
        .current_dir(folder);
    command::run(&mut componentize).map(drop)
}

//! Which functions there are: a folder with a `function.toml` in `examples/LANGUAGE/` is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// What a function is written in. The order is the order of building: cheap ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Language {
    Rust,
    C,
    Wat,
    Js,
    Py,
    /// Rust for wasi:http 0.3; the others are for 0.2.
    RustP3,
    /// JavaScript for wasi:http 0.3, by another tool chain than for 0.2.
    JsP3,
    /// Python for wasi:http 0.3.
    PyP3,
    /// Programs for AWS Lambda's clients, whatever they are written in: folders, not components.
    Lambda,
    /// Programs that listen on `$PORT`, likewise.
    Http,
    /// Those that attack whatever runs them, for tests.
    Hostile,
    /// Those that tell whether one request sees what another one left.
    Probe,
}

impl Language {
    /// Whether what is built is a folder and not a component.
    pub(super) fn is_program(self) -> bool {
        matches!(
            self,
            Self::Lambda | Self::Http | Self::Hostile | Self::Probe
        )
    }

    /// The folder in `examples/` and the first part of a component's file name.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Wat => "wat",
            Self::Js => "js",
            Self::Py => "py",
            Self::RustP3 => "rust-p3",
            Self::JsP3 => "js-p3",
            Self::PyP3 => "py-p3",
            Self::Lambda => "lambda",
            Self::Http => "http",
            Self::Hostile => "hostile",
            Self::Probe => "probe",
        }
    }
}

/// One function in `examples/`.
pub(super) struct Guest {
    pub(super) language: Language,
    /// The folder's name, such as `hello`.
    pub(super) name: String,
    pub(super) folder: PathBuf,
}

impl Guest {
    /// The component's file name, such as `rust-hello.wasm`, or the folder's, such as
    /// `lambda-python`.
    pub(super) fn file_name(&self) -> String {
        let name = format!("{}-{}", self.language.folder(), self.name);
        match self.language.is_program() {
            true => name,
            false => format!("{name}.wasm"),
        }
    }
}

/// All functions, sorted by language and name.
///
/// # Errors
/// `examples/` cannot be read.
pub(super) fn discover(root: &Path) -> Result<Vec<Guest>> {
    let languages = [
        Language::Rust,
        Language::C,
        Language::Wat,
        Language::Js,
        Language::Py,
        Language::RustP3,
        Language::JsP3,
        Language::PyP3,
        Language::Lambda,
        Language::Http,
        Language::Hostile,
        Language::Probe,
    ];
    let mut guests = Vec::new();
    for language in languages {
        let folder = root.join("examples").join(language.folder());
        for entry in entries(&folder)? {
            if entry.join("function.toml").is_file() {
                let name = entry
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                guests.push(Guest {
                    language,
                    name,
                    folder: entry,
                });
            }
        }
    }
    Ok(guests)
}

/// Every file that `guest` is made of, sorted: its own, and those that its language's functions
/// share (but no lock file: `stamp` reads the pins in it).
///
/// # Errors
/// A folder cannot be read.
pub(super) fn files(root: &Path, guest: &Guest) -> Result<Vec<PathBuf>> {
    let shared = root.join("examples").join(guest.language.folder());
    let mut found: BTreeSet<PathBuf> = entries(&shared)?
        .into_iter()
        .filter(|entry| entry.is_file() && !entry.ends_with("Cargo.lock"))
        .collect();
    walk(&guest.folder, &mut found)?;
    if matches!(guest.language, Language::Rust | Language::RustP3) {
        walk(&shared.join("guest"), &mut found)?;
        walk(&shared.join(".cargo"), &mut found)?;
    }
    Ok(found.into_iter().collect())
}

/// Every file below `folder`, sorted, but for what interpreters leave behind when they run it.
///
/// # Errors
/// A folder cannot be read.
pub(super) fn tree(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if path.is_dir() {
            if !path.ends_with("__pycache__") {
                found.extend(tree(&path)?);
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in entries(folder)? {
        if entry.is_dir() {
            walk(&entry, found)?;
        } else {
            found.insert(entry);
        }
    }
    Ok(())
}

/// What `folder` holds, sorted, without what interpreters leave behind.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        let name = path.file_name().unwrap_or_default();
        if name != "__pycache__" && name != "node_modules" && name != "target" {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

//! A function as its author has it on disk: a component, a program, or a folder of either.
//!
//! ```text
//! folder with function.toml ─► its component, or its program's folder, packed
//! folder, or .zip of one    ─► a program, recognised by its files, packed
//! .py .js .mjs .cjs, ELF    ─► a program of that file alone, packed
//! any other file            ─► a component
//! ```
//!
//! Deliberately absent: whether a component is one, which the engine finds out.

mod component;
mod name;
mod program;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use usher_api::manifest::{Content, MANIFEST_FILE, Manifest};
use usher_core::function::Settings;
use usher_core::id::Name;

/// What is to be deployed.
#[derive(Debug)]
pub(crate) struct Source {
    /// What to call it.
    pub(crate) name: Name,
    /// The component, or the bundle of a program.
    pub(crate) artifact: Bytes,
    /// How it is run.
    pub(crate) settings: Settings,
    /// What it was recognised as, where no manifest says it.
    pub(crate) recognised: Option<String>,
}

/// What a file is, by its name and how it begins.
enum Kind {
    Manifest,
    Archive,
    Program,
    Component,
}

impl Source {
    /// Reads what is at `path`; `name` overrides the name found there. Blocks.
    pub(crate) fn read(path: &Path, name: Option<Name>) -> anyhow::Result<Self> {
        let about = fs::metadata(path)
            .with_context(|| format!("{} cannot be read; is the path right?", path.display()))?;
        if about.is_dir() {
            return Self::folder(path, path, name);
        }
        match kind(path)? {
            Kind::Manifest => Self::folder(path.parent().unwrap_or(Path::new("")), path, name),
            Kind::Archive => {
                let folder = program::unpacked(path)?;
                Self::folder(folder.path(), path, name)
            }
            Kind::Program => {
                let name = name::given_or_of(name, path)?;
                program::file(path, name)
            }
            Kind::Component => Ok(Self {
                name: name::given_or_of(name, path)?,
                artifact: component::read(path)?,
                settings: Settings::default(),
                recognised: None,
            }),
        }
    }

    /// Reads a folder; without a manifest it is called as what is at `path`.
    fn folder(folder: &Path, path: &Path, name: Option<Name>) -> anyhow::Result<Self> {
        let manifest = folder.join(MANIFEST_FILE);
        if !manifest.exists() {
            let name = name::given_or_of(name, path)?;
            return program::folder(folder, name);
        }
        let unreadable = || format!("{} cannot be read", manifest.display());
        let text = fs::read_to_string(&manifest).with_context(unreadable)?;
        let said = Manifest::read(&text).with_context(|| manifest.display().to_string())?;
        let artifact = match &said.content {
            Content::Component(file) => component::named(folder, file)?,
            Content::Folder(inner) => program::packed(&folder.join(inner))?,
        };
        Ok(Self {
            name: name.unwrap_or(said.name),
            artifact,
            settings: said.settings,
            recognised: None,
        })
    }
}

fn kind(path: &Path) -> anyhow::Result<Kind> {
    if path.file_name().is_some_and(|file| file == MANIFEST_FILE) {
        return Ok(Kind::Manifest);
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("py" | "js" | "mjs" | "cjs") => return Ok(Kind::Program),
        Some("zip") => return Ok(Kind::Archive),
        _ => {}
    }
    Ok(match head(path, 4)?.as_slice() {
        b"\x7fELF" => Kind::Program,
        _ => Kind::Component,
    })
}

/// How a file begins.
fn head(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let unreadable = || format!("{} cannot be read", path.display());
    let file = File::open(path).with_context(unreadable)?;
    let mut head = Vec::new();
    let read = file.take(bytes_max as u64).read_to_end(&mut head);
    read.with_context(unreadable)?;
    Ok(head)
}

/// A path that has a last part that is a name.
fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

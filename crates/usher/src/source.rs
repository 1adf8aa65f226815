//! A function as its author has it on disk: a component, or a folder with `function.toml`.
//!
//! Deliberately absent: whether the component is one, which the engine finds out.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use usher_api::manifest::{Content, MANIFEST_FILE, Manifest};
use usher_core::function::Settings;
use usher_core::id::{NAME_MAX_BYTES, Name};

/// The largest component that is read, in MiB; the controller takes no larger one.
const COMPONENT_MAX_MIB: u64 = 256;

/// What is to be deployed.
#[derive(Debug)]
pub(crate) struct Source {
    /// What to call it.
    pub(crate) name: Name,
    /// The component.
    pub(crate) component: Bytes,
    /// How it is run.
    pub(crate) settings: Settings,
}

impl Source {
    /// Reads what is at `path`; `name` overrides the name found there.
    pub(crate) fn read(path: &Path, name: Option<Name>) -> anyhow::Result<Self> {
        let about = fs::metadata(path)
            .with_context(|| format!("{} cannot be read; is the path right?", path.display()))?;
        if about.is_dir() {
            return Self::folder(path, name);
        }
        match path.parent() {
            Some(folder) if path.file_name().is_some_and(|file| file == MANIFEST_FILE) => {
                Self::folder(folder, name)
            }
            _ => Self::component(path, name),
        }
    }

    fn folder(folder: &Path, name: Option<Name>) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "{} cannot be read; name a component, or a folder with {MANIFEST_FILE}",
                path.display()
            )
        })?;
        let manifest = Manifest::read(&text).with_context(|| path.display().to_string())?;
        let Content::Component(file) = &manifest.content else {
            bail!(
                "{} is of a program, and no engine runs it yet",
                path.display()
            );
        };
        let component = folder.join(file);
        ensure!(
            component.exists(),
            "{} says component = {file:?}, and {} is not there; build it first, or correct the \
             manifest",
            path.display(),
            component.display()
        );
        Ok(Self {
            name: name.unwrap_or(manifest.name),
            component: read_component(&component)?,
            settings: manifest.settings,
        })
    }

    fn component(path: &Path, name: Option<Name>) -> anyhow::Result<Self> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = name
            .or_else(|| legal_name(&stem))
            .with_context(|| format!("no name can be made of {:?}; give one with --name", path))?;
        Ok(Self {
            name,
            component: read_component(path)?,
            settings: Settings::default(),
        })
    }
}

fn read_component(path: &Path) -> anyhow::Result<Bytes> {
    let unreadable = || format!("{} cannot be read", path.display());
    let about = fs::metadata(path).with_context(unreadable)?;
    if !about.is_file() {
        bail!("{} is no file; name a component", path.display());
    }
    ensure!(
        about.len() <= COMPONENT_MAX_MIB << 20,
        "{} has {} MiB, and a component has at most {COMPONENT_MAX_MIB}; strip it of its debug \
         sections",
        path.display(),
        about.len() >> 20
    );
    Ok(fs::read(path).with_context(unreadable)?.into())
}

/// A name as near to a file's as is legal; none where no letter or digit is left.
fn legal_name(stem: &str) -> Option<Name> {
    let mut name = String::new();
    for letter in stem.chars().map(|letter| letter.to_ascii_lowercase()) {
        let legal = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        match legal {
            true => name.push(letter),
            false if name.ends_with('-') || name.is_empty() => {}
            false => name.push('-'),
        }
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert_str(0, "f-");
    }
    name.truncate(NAME_MAX_BYTES);
    name.trim_end_matches('-').parse().ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_any_file_with_a_letter_or_digit() {
        for (stem, name) in [
            ("hello", "hello"),
            ("Hello_World.component", "hello-world-component"),
            ("__x__", "x"),
            ("2048", "f-2048"),
            ("größe", "gr-e"),
        ] {
            assert_eq!(legal_name(stem).unwrap().as_str(), name);
        }
        assert_eq!(legal_name("___"), None);
        let cut = legal_name(&format!("{}-tail", "a".repeat(NAME_MAX_BYTES - 1)));
        assert_eq!(cut.unwrap().as_str().len(), NAME_MAX_BYTES - 1);
    }

    #[test]
    fn a_folder_is_read_by_its_manifest_and_a_file_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("some.wasm");
        fs::write(&component, b"bytes").unwrap();
        let text = "name = \"fine\"\ncomponent = \"some.wasm\"\nisolation = \"none\"\n";
        let manifest = folder.path().join(MANIFEST_FILE);
        fs::write(&manifest, text).unwrap();
        for path in [folder.path(), &manifest] {
            let source = Source::read(path, None).unwrap();
            assert_eq!(source.name.as_str(), "fine");
            assert_eq!(source.component, "bytes");
            assert_ne!(source.settings, Settings::default());
        }
        let source = Source::read(&component, None).unwrap();
        assert_eq!(source.name.as_str(), "some");
        assert_eq!(source.settings, Settings::default());
        let named = Source::read(folder.path(), Some("other".parse().unwrap()));
        assert_eq!(named.unwrap().name.as_str(), "other");
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Source::read(&folder.path().join("gone"), None).unwrap_err();
        assert!(error.to_string().contains("is the path right"), "{error}");
        let error = Source::read(folder.path(), None).unwrap_err();
        assert!(error.to_string().contains(MANIFEST_FILE), "{error}");
        let text = "name = \"fine\"\ncomponent = \"some.wasm\"\n";
        fs::write(folder.path().join(MANIFEST_FILE), text).unwrap();
        let error = Source::read(folder.path(), None).unwrap_err();
        assert!(error.to_string().contains("build it first"), "{error}");
    }
}

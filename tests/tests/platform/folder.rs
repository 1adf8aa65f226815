//! Throw-away folders: data for a platform, and functions with a manifest.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{example, target};

/// A folder that goes with what holds it.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A function: an example's component and a manifest with these lines.
    pub(crate) fn function(name: &str, component: &str, lines: &str) -> Self {
        let folder = Self::new();
        fs::copy(example(component), folder.path().join("function.wasm")).unwrap();
        let manifest = format!("name = \"{name}\"\ncomponent = \"function.wasm\"\n{lines}");
        fs::write(folder.path().join("function.toml"), manifest).unwrap();
        folder
    }

    /// A program that `cargo xtask examples` built, with lines at the head and at the end of its
    /// manifest.
    pub(crate) fn program(example: &str, name: &str, head: &str, end: &str) -> Self {
        let built = target().join("examples").join(example);
        let shown = built.display();
        assert!(
            built.exists(),
            "{shown} is not there; `cargo xtask examples` builds it"
        );
        let folder = Self::new();
        let copied = Command::new("cp")
            .arg("-aT")
            .args([&built, folder.path()])
            .status();
        assert!(copied.unwrap().success());
        let manifest = folder.path().join("function.toml");
        let own = fs::read_to_string(&manifest).unwrap();
        let own = own.replace(
            &format!("name = \"{example}\""),
            &format!("name = \"{name}\""),
        );
        fs::write(manifest, format!("{head}\n{own}\n{end}\n")).unwrap();
        folder
    }

    /// Adds a line to the manifest, behind the first one that is `behind`.
    pub(crate) fn insert(&self, behind: &str, line: &str) {
        let manifest = self.path().join("function.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let changed = text.replacen(behind, &format!("{behind}\n{line}"), 1);
        assert_ne!(text, changed, "{behind} is not in {text}");
        fs::write(manifest, changed).unwrap();
    }

    /// A function that is not what it should be.
    pub(crate) fn component(bytes: &[u8]) -> Self {
        let folder = Self::new();
        fs::write(folder.path().join("function.wasm"), bytes).unwrap();
        let manifest = "name = \"bad\"\ncomponent = \"function.wasm\"\n";
        fs::write(folder.path().join("function.toml"), manifest).unwrap();
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }
}

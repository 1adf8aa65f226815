//! Throw-away folders: data for a platform, and functions with a manifest.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::example;

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

//! The files of the checkout, read once: text, and for Rust also what the tokens say.
//!
//! Built and fetched things (`target`, `node_modules`, caches) are no part of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;
use super::source::Source;

/// Folders that hold what tools made.
const MADE_BY_TOOLS: [&str; 5] = [".git", "target", "node_modules", "__pycache__", ".venv"];
/// Larger files are data, not text to be judged, in bytes.
const TEXT_MAX_BYTES: u64 = 1 << 20;

/// The text files of a checkout by their path from its root.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Every text file.
    pub(crate) texts: BTreeMap<PathBuf, String>,
    /// Every Rust file that could be read as tokens.
    pub(crate) sources: BTreeMap<PathBuf, Source>,
    findings: Vec<Finding>,
}

impl Tree {
    /// Reads everything below `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        let mut open = vec![root.to_path_buf()];
        while let Some(folder) = open.pop() {
            let entries = std::fs::read_dir(&folder)
                .with_context(|| format!("{} could not be listed", folder.display()))?;
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                let tools = |name: &str| MADE_BY_TOOLS.contains(&name);
                if kind.is_dir() && !entry.file_name().to_str().is_some_and(tools) {
                    open.push(entry.path());
                } else if kind.is_file() && entry.metadata()?.len() <= TEXT_MAX_BYTES {
                    let path = entry.path();
                    let bytes = std::fs::read(&path)
                        .with_context(|| format!("{} could not be read", path.display()))?;
                    if let Ok(text) = String::from_utf8(bytes) {
                        tree.add(path.strip_prefix(root)?, text);
                    }
                }
            }
        }
        Ok(tree)
    }

    /// Adds one file.
    pub(crate) fn add(&mut self, path: &Path, text: String) {
        if path.extension().is_some_and(|extension| extension == "rs") {
            match Source::parse(&text) {
                Ok(source) => drop(self.sources.insert(path.to_path_buf(), source)),
                Err(error) => self.findings.push(Finding::new(path, 0, error)),
            }
        }
        self.texts.insert(path.to_path_buf(), text);
    }

    /// A text by its path.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(Path::new(path)).map(String::as_str)
    }

    /// Files that could not be read as what they claim to be.
    pub(crate) fn unreadable(&self) -> impl Iterator<Item = Finding> {
        self.findings.iter().cloned()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use super::*;

    /// A made-up tree of `(path, text)`.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.add(Path::new(path), (*text).to_owned());
        }
        tree
    }

    /// `path:line` of each finding.
    pub(crate) fn places(findings: &[Finding]) -> Vec<String> {
        let place = |finding: &Finding| format!("{}:{}", finding.path.display(), finding.line);
        findings.iter().map(place).collect()
    }

    #[test]
    fn what_tools_made_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["a/b.rs", "target/c.rs", "x/node_modules/d.rs", ".ci/run"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "fn a() {}\n").unwrap();
        }
        std::fs::write(folder.path().join("binary"), [0xff]).unwrap();
        let tree = Tree::read(folder.path()).unwrap();
        let paths: Vec<_> = tree
            .texts
            .keys()
            .map(|path| path.to_str().unwrap())
            .collect();
        assert_eq!(paths, [".ci/run", "a/b.rs"]);
        assert_eq!(tree.sources.len(), 1);
    }

    #[test]
    fn a_file_that_is_no_rust_is_a_finding() {
        assert_eq!(tree(&[("a.rs", "fn (")]).unreadable().count(), 1);
    }
}

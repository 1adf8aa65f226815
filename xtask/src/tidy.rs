//! `cargo xtask tidy`: the rules of the house that no compiler knows, all findings told at once.
//!
//! Each rule is a function from what is in the tree to findings, and has a test on a tree made up
//! for it. Deliberately absent: formatting (rustfmt) and lints (clippy); `cargo xtask test` runs
//! them beside this.

mod code;
mod edges;
mod mission;
mod rooms;
mod source;
mod text;
mod tree;
mod wrap;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::workspace::{self, Workspace};
use tree::Tree;

/// Something that breaks a rule, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, from the root of the checkout.
    pub(crate) path: PathBuf,
    /// The line, from 1; 0: the whole file.
    pub(crate) line: usize,
    /// What is wrong, and what to do.
    pub(crate) text: String,
    /// Worth a look, but no failure.
    pub(crate) warning: bool,
}

impl Finding {
    fn new(path: &Path, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            line,
            text: text.into(),
            warning: false,
        }
    }

    fn warning(path: &Path, line: usize, text: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::new(path, line, text)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.warning { "warning: " } else { "" };
        match self.line {
            0 => write!(out, "{}: {kind}{}", self.path.display(), self.text),
            line => write!(out, "{}:{line}: {kind}{}", self.path.display(), self.text),
        }
    }
}

/// What `cargo xtask tidy` is asked for.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// First wrap comments that are too long for their line, below these paths.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    wrap: Vec<PathBuf>,
}

/// Checks the whole checkout; prints every finding; fails if one is more than a warning.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    for path in &args.wrap {
        wrap_below(&root, path)?;
    }
    let mut findings = inspect(&Tree::read(&root)?, &Workspace::load(&root)?, &root);
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    let broken = findings.iter().filter(|finding| !finding.warning).count();
    ensure!(
        broken == 0,
        "{broken} findings break the rules of the house"
    );
    Ok(())
}

fn wrap_below(root: &Path, wanted: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let wanted = wanted.strip_prefix(root).unwrap_or(wanted);
    for path in tree.sources.keys().filter(|path| path.starts_with(wanted)) {
        let text = tree.texts.get(path).map_or("", String::as_str);
        let wrapped = wrap::wrap(text);
        if wrapped != text {
            std::fs::write(root.join(path), wrapped)?;
            println!("{}: wrapped", path.display());
        }
    }
    Ok(())
}

fn inspect(tree: &Tree, workspace: &Workspace, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(tree.unreadable());
    findings.extend(text::check(tree));
    findings.extend(code::check(tree));
    findings.extend(rooms::check(tree, workspace, root));
    findings.extend(edges::check(workspace, root));
    findings.extend(mission::check(tree));
    findings
}

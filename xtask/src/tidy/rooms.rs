//! Rules for crates: each is on the map, takes the lints of the workspace, and bars `unsafe` at its
//! root.

use std::path::{Path, PathBuf};

use super::Finding;
use super::code::unsafe_room;
use super::tree::Tree;
use crate::workspace::{Package, Workspace};

/// The map of the rooms.
const MAP: &str = "ARCHITECTURE.md";
/// It is read in one sitting.
const MAP_MAX_LINES: usize = 300;

/// All findings.
pub(crate) fn check(tree: &Tree, workspace: &Workspace, root: &Path) -> Vec<Finding> {
    let mut findings = map(tree, workspace);
    for package in workspace.members() {
        let folder = folder(package, root);
        findings.extend(lints(tree, &folder));
        findings.extend(crate_roots(tree, &folder));
    }
    findings
}

/// The folder of a crate, from the root of the checkout.
pub(crate) fn folder(package: &Package, root: &Path) -> PathBuf {
    let folder = package.manifest_path.parent().unwrap_or(Path::new(""));
    folder.strip_prefix(root).unwrap_or(folder).to_path_buf()
}

fn map(tree: &Tree, workspace: &Workspace) -> Vec<Finding> {
    let path = Path::new(MAP);
    let Some(map) = tree.text(MAP) else {
        return vec![Finding::new(
            path,
            0,
            "missing; it holds the map of the crates",
        )];
    };
    let lines = map.lines().count();
    let mut findings = Vec::new();
    if lines > MAP_MAX_LINES {
        let text = format!("{lines} lines, more than {MAP_MAX_LINES}; move details to docs/");
        findings.push(Finding::new(path, 0, text));
    }
    let missing =
        (workspace.members()).filter(|package| !map.contains(&format!("`{}`", package.name)));
    findings.extend(missing.map(|package| {
        let text = format!("`{}` is not on the map; say what it owns", package.name);
        Finding::new(path, 0, text)
    }));
    findings
}

fn lints(tree: &Tree, folder: &Path) -> Option<Finding> {
    let path = folder.join("Cargo.toml");
    let text = tree.texts.get(&path)?;
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return Some(Finding::new(&path, 0, error.to_string())),
    };
    let shared = (manifest.get("lints"))
        .and_then(|lints| lints.get("workspace"))
        .and_then(toml::Value::as_bool);
    (shared != Some(true)).then(|| Finding::new(&path, 0, "add `[lints]` with `workspace = true`"))
}

fn crate_roots(tree: &Tree, folder: &Path) -> Vec<Finding> {
    // Where `unsafe` has a room, `deny` bars it elsewhere and can be lifted for that room.
    let room = unsafe_room(folder).is_some();
    let wanted = if room {
        "deny(unsafe_code)"
    } else {
        "forbid(unsafe_code)"
    };
    let source = folder.join("src");
    let is_root = |path: &Path| {
        path == source.join("lib.rs")
            || path == source.join("main.rs")
            || path.parent() == Some(&source.join("bin"))
    };
    let roots = tree.sources.iter().filter(|(path, _)| is_root(path));
    let open = roots.filter(|(_, root)| !root.attributes.iter().any(|it| it == wanted));
    open.map(|(path, _)| Finding::new(path, 0, format!("add `#![{wanted}]`")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{places, tree};
    use super::*;
    use crate::workspace::tests::made_up;

    const GOOD: &str = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n";
    const BARRED: &str = "//! A.\n#![forbid(unsafe_code)]\n";

    fn found(files: &[(&str, &str)], crates: &[&str]) -> Vec<String> {
        let crates: Vec<_> = crates.iter().map(|name| (*name, &[][..])).collect();
        places(&check(&tree(files), &made_up(&crates), Path::new("")))
    }

    #[test]
    fn a_crate_that_keeps_the_rules_is_not_found() {
        let files = [
            (MAP, "| `a` | owns things |\n"),
            ("crates/a/Cargo.toml", GOOD),
            ("crates/a/src/lib.rs", BARRED),
        ];
        assert!(found(&files, &["a"]).is_empty());
    }

    #[test]
    fn a_crate_that_is_not_on_the_map_is_found() {
        assert_eq!(
            found(&[(MAP, "| `a-b` |\n")], &["a", "a-b"]),
            ["ARCHITECTURE.md:0"]
        );
        assert_eq!(found(&[], &["a"]), ["ARCHITECTURE.md:0"]);
        let long = "`a`\n".repeat(301);
        assert_eq!(found(&[(MAP, &long)], &["a"]), ["ARCHITECTURE.md:0"]);
    }

    #[test]
    fn a_crate_without_the_shared_lints_is_found() {
        let files = [
            (MAP, "`a`"),
            ("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"),
        ];
        assert_eq!(found(&files, &["a"]), ["crates/a/Cargo.toml:0"]);
    }

    #[test]
    fn a_crate_root_that_does_not_bar_unsafe_is_found() {
        let denied = "//! A.\n#![deny(unsafe_code)]\n";
        let files = [
            (MAP, "`a` `usher-wasm` `usher-process`"),
            ("crates/a/src/lib.rs", denied),
            ("crates/a/src/bin/b.rs", "//! B.\n"),
            ("crates/a/src/other.rs", "//! C.\n"),
            ("crates/usher-wasm/src/lib.rs", denied),
            ("crates/usher-process/src/lib.rs", "//! D.\n"),
        ];
        let expected = [
            "crates/a/src/bin/b.rs:0",
            "crates/a/src/lib.rs:0",
            "crates/usher-process/src/lib.rs:0",
        ];
        assert_eq!(
            found(&files, &["a", "usher-process", "usher-wasm"]),
            expected
        );
    }
}

//! Rules for every text file: nothing that is true of one machine only, no names that say nothing.

use std::path::Path;

use super::Finding;
use super::tree::Tree;

/// First folders of paths that exist on one machine only.
const MACHINE_FOLDERS: [&str; 5] = ["work", "farm", "root", "home", "tmp"];
/// Hosts that packages are fetched from, as name and top-level domain: clients know them by
/// themselves.
const REGISTRY_HOSTS: [(&str, &str); 7] = [
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("index.crates", "io"),
    ("static.crates", "io"),
    ("deb.debian", "org"),
];
/// Names of rooms into which anything would fit.
const EMPTY_NAMES: [&str; 4] = ["util", "utils", "common", "helpers"];
/// Written by cargo, which names its index there.
const LOCK: &str = "Cargo.lock";

/// All findings.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &tree.texts {
        findings.extend(name(path));
        if path.file_name().is_some_and(|name| name == LOCK) {
            continue;
        }
        for (line, text) in (1..).zip(text.lines()) {
            if let Some(folder) = machine_folder(text) {
                let what = format!("/{folder}/… exists on one machine only; derive the path");
                findings.push(Finding::new(path, line, what));
            }
            if let Some(host) = registry_host(text) {
                let what = format!("{host} is a package registry's host; leave it to its client");
                findings.push(Finding::new(path, line, what));
            }
        }
    }
    findings
}

fn name(path: &Path) -> Option<Finding> {
    let names = path
        .iter()
        .filter_map(|part| Path::new(part).file_stem()?.to_str());
    let empty = names.into_iter().find(|name| EMPTY_NAMES.contains(name));
    if let Some(empty) = empty {
        return Some(Finding::new(
            path,
            0,
            format!("`{empty}` says nothing; name what it owns"),
        ));
    }
    let is_mod = path.file_name().is_some_and(|name| name == "mod.rs");
    is_mod.then(|| Finding::new(path, 0, "name it `FOLDER.rs` and put it beside the folder"))
}

/// `/FOLDER/` where a path begins, not in the middle of one.
fn machine_folder(line: &str) -> Option<&'static str> {
    MACHINE_FOLDERS.into_iter().find(|folder| {
        let path = format!("/{folder}/");
        line.match_indices(&path).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "_.~-}$".contains(c))
        })
    })
}

fn registry_host(line: &str) -> Option<String> {
    let hosts = REGISTRY_HOSTS
        .iter()
        .map(|(name, domain)| format!("{name}.{domain}"));
    hosts.into_iter().find(|host| line.contains(host))
}

#[cfg(test)]
mod tests {
    use super::super::tree::tests::{places, tree};
    use super::*;

    #[test]
    fn paths_of_one_machine_are_found_where_they_begin() {
        let text = format!(
            "x\nsee {0}work{0}main\ntests{0}work{0}a ${{HOME}}{0}tmp{0}b\n",
            "/"
        );
        assert_eq!(places(&check(&tree(&[("a.md", &text)]))), ["a.md:2"]);
    }

    #[test]
    fn registry_hosts_are_found_but_not_in_the_lock_file() {
        let text = format!("https://{}.{}/x\n", "pypi", "org");
        let tree = tree(&[("a.sh", &text), (LOCK, &text), ("b.md", "crates.io\n")]);
        assert_eq!(places(&check(&tree)), ["a.sh:1"]);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        let tree = tree(&[
            ("a/mod.rs", ""),
            ("a/util.rs", ""),
            ("common/x.rs", ""),
            ("a/uncommon.rs", ""),
        ]);
        assert_eq!(
            places(&check(&tree)),
            ["a/mod.rs:0", "a/util.rs:0", "common/x.rs:0"]
        );
    }
}

//! What cargo says of this workspace: its crates, who depends on whom, and every package they
//! reach.
//!
//! Read from `cargo metadata`, so that the chores judge what cargo really resolves for the first
//! platform. Deliberately absent: judgement; see `tidy` and `audit`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The platform whose packages count.
pub(crate) const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The root of the checkout: the folder above this crate's.
pub(crate) fn root() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.parent().unwrap_or(crate_folder).to_path_buf()
}

/// The resolved workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// Every package that the workspace reaches on [`PLATFORM`], its own crates among them.
    pub(crate) packages: Vec<Package>,
    workspace_members: Vec<String>,
    resolve: Resolve,
}

/// One package at one version.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Cargo's name for exactly this package.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// The SPDX expression that it declares.
    pub(crate) license: Option<String>,
    /// Where it comes from; none: a path in this checkout.
    pub(crate) source: Option<String>,
    /// Its manifest.
    pub(crate) manifest_path: PathBuf,
    /// What it declares to depend on.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependencies.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's name.
    pub(crate) name: String,
    /// The versions that would do.
    pub(crate) req: String,
    /// Where it is to come from; none: a path.
    pub(crate) source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Debug, Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Debug, Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

impl Workspace {
    /// Asks cargo. Fails where `Cargo.lock` does not fit the manifests.
    pub(crate) fn load(root: &Path) -> Result<Self> {
        let output = Command::new(crate::child::cargo())
            .args(["metadata", "--locked", "--format-version", "1"])
            .args(["--filter-platform", PLATFORM])
            .current_dir(root)
            .output()
            .context("cargo metadata could not be started")?;
        ensure!(
            output.status.success(),
            "cargo metadata failed; if Cargo.lock is out of step, run `cargo check`:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self::parse(&output.stdout)
    }

    /// Reads what `cargo metadata` printed.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        serde_json::from_slice(json).context("cargo metadata is not what was expected")
    }

    /// The crates of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Package> {
        let members: BTreeSet<&str> = self.workspace_members.iter().map(String::as_str).collect();
        self.packages
            .iter()
            .filter(move |package| members.contains(package.id.as_str()))
    }

    /// Names of all packages that a crate needs to be built and run, development dependencies left
    /// out.
    pub(crate) fn reached_from(&self, name: &str) -> BTreeSet<&str> {
        let names: BTreeMap<&str, &str> = (self.packages.iter())
            .map(|package| (package.id.as_str(), package.name.as_str()))
            .collect();
        let edges: BTreeMap<&str, &[Edge]> = (self.resolve.nodes.iter())
            .map(|node| (node.id.as_str(), node.deps.as_slice()))
            .collect();
        let mut open: Vec<&str> = (self.members())
            .filter(|package| package.name == name)
            .map(|package| package.id.as_str())
            .collect();
        let mut seen: BTreeSet<&str> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            for edge in edges.get(id).copied().unwrap_or_default() {
                let needed = edge
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind.as_deref() != Some("dev"));
                if needed && seen.insert(&edge.pkg) {
                    open.push(&edge.pkg);
                }
            }
        }
        let reached: BTreeSet<&str> = seen
            .iter()
            .filter_map(|id| names.get(id).copied())
            .collect();
        reached
            .into_iter()
            .filter(|reached| *reached != name)
            .collect()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
pub(crate) mod tests {
    use super::*;

    /// A made-up workspace: `(crate, [(dependency, kind)])`; what has no line of its own is an
    /// outside package.
    pub(crate) fn made_up(crates: &[(&str, &[(&str, &str)])]) -> Workspace {
        let own: BTreeSet<&str> = crates.iter().map(|(name, _)| *name).collect();
        let outside: BTreeSet<&str> = (crates.iter())
            .flat_map(|(_, deps)| deps.iter().map(|(dep, _)| *dep))
            .filter(|dep| !own.contains(dep))
            .collect();
        let package = |name: &str, deps: &[(&str, &str)]| {
            let dependencies: Vec<_> = (deps.iter())
                .map(|(dep, kind)| serde_json::json!({"name": dep, "req": "^1", "kind": kind}))
                .collect();
            serde_json::json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT",
                "manifest_path": format!("crates/{name}/Cargo.toml"), "dependencies": dependencies})
        };
        let node = |name: &str, deps: &[(&str, &str)]| {
            let deps: Vec<_> = (deps.iter())
                .map(|(dep, kind)| {
                    let kind = (!kind.is_empty()).then_some(*kind);
                    serde_json::json!({"pkg": dep, "dep_kinds": [{"kind": kind}]})
                })
                .collect();
            serde_json::json!({"id": name, "deps": deps})
        };
        let all = || {
            crates
                .iter()
                .copied()
                .chain(outside.iter().map(|name| (*name, &[][..])))
        };
        let json = serde_json::json!({
            "packages": all().map(|(name, deps)| package(name, deps)).collect::<Vec<_>>(),
            "workspace_members": own,
            "resolve": {"nodes": all().map(|(name, deps)| node(name, deps)).collect::<Vec<_>>()},
        });
        Workspace::parse(json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_is_reached_leaves_development_dependencies_out() {
        let workspace = made_up(&[
            ("top", &[("middle", ""), ("tester", "dev")]),
            ("middle", &[("leaf", "build")]),
        ]);
        let reached: Vec<_> = workspace.reached_from("top").into_iter().collect();
        assert_eq!(reached, ["leaf", "middle"]);
    }
}

//! Rules for dependencies: downwards only, the roles apart, heavy crates behind their fence.
//!
//! ```text
//! 5  usher · tests · xtask          the binary, and what looks at the whole
//! 4  usher-wasm · usher-process · usher-gateway · usher-controller · usher-node
//! 3  usher-engine
//! 2  usher-api · usher-backbone
//! 1  usher-core
//! ```

use std::path::Path;

use super::Finding;
use super::rooms::folder;
use crate::workspace::{Package, Workspace};

/// Each crate and its floor: it may depend on lower floors only. A new crate gets its line here.
const FLOORS: [(&str, u8); 12] = [
    ("usher-core", 1),
    ("usher-api", 2),
    ("usher-backbone", 2),
    ("usher-engine", 3),
    ("usher-wasm", 4),
    ("usher-process", 4),
    ("usher-gateway", 4),
    ("usher-controller", 4),
    ("usher-node", 4),
    ("usher", 5),
    ("usher-tests", 5),
    ("xtask", 5),
];
/// What decides must not be able to act: none of these below `usher-core`.
const PURE: &str = "usher-core";
const NOT_PURE: [&str; 6] = ["tokio", "rand", "redb", "rustix", "hyper", "libc"];
/// The only crate that names the wasm runtime.
const WASM: &str = "usher-wasm";
const WASM_RUNTIME: [&str; 2] = ["wasmtime", "cranelift"];

/// All findings.
pub(crate) fn check(workspace: &Workspace, root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in workspace.members() {
        let path = folder(package, root).join("Cargo.toml");
        let texts = floors(package).into_iter().chain(runtime(package));
        findings.extend(texts.map(|text| Finding::new(&path, 0, text)));
        if package.name == PURE {
            let reached = workspace.reached_from(PURE);
            let impure = NOT_PURE.iter().filter(|name| reached.contains(**name));
            findings.extend(impure.map(|name| {
                let text = format!("{PURE} reaches `{name}`; decisions are data in, data out");
                Finding::new(&path, 0, text)
            }));
        }
    }
    findings
}

fn floor(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(of, _)| *of == name)
        .map(|(_, floor)| *floor)
}

fn floors(package: &Package) -> Vec<String> {
    let Some(own) = floor(&package.name) else {
        return vec!["has no floor; give it one in xtask/src/tidy/edges.rs".to_owned()];
    };
    let known = (package.dependencies.iter()).filter_map(|to| Some((&to.name, floor(&to.name)?)));
    let wrong = known.filter(|(name, floor)| *floor >= own && **name != package.name);
    wrong
        .map(|(name, _)| format!("must not depend on `{name}`: dependencies point downwards only"))
        .collect()
}

fn runtime(package: &Package) -> Vec<String> {
    let names = package.dependencies.iter().map(|to| to.name.as_str());
    let runtime = names.filter(|name| {
        let family = name.split('-').next().unwrap_or_default();
        package.name != WASM && WASM_RUNTIME.contains(&family)
    });
    runtime
        .map(|name| format!("must not depend on `{name}`: only {WASM} names the wasm runtime"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::tests::made_up;

    fn found(crates: &[(&str, &[(&str, &str)])]) -> Vec<String> {
        let findings = check(&made_up(crates), Path::new(""));
        findings
            .into_iter()
            .map(|finding| finding.to_string())
            .collect()
    }

    #[test]
    fn edges_downwards_are_no_finding() {
        let crates: &[(&str, &[(&str, &str)])] = &[
            (
                "usher",
                &[("usher-node", ""), ("usher-wasm", ""), ("tokio", "")],
            ),
            ("usher-node", &[("usher-core", "")]),
            ("usher-wasm", &[("wasmtime", ""), ("wasmtime-wasi", "")]),
            ("usher-core", &[("serde", ""), ("rand", "dev")]),
        ];
        assert_eq!(found(crates), [""; 0]);
    }

    #[test]
    fn the_roles_must_not_name_each_other_not_even_in_tests() {
        let found = found(&[
            ("usher-node", &[("usher-gateway", "dev")]),
            ("usher-gateway", &[]),
        ]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .starts_with("crates/usher-node/Cargo.toml: must not depend on `usher-gateway`")
        );
    }

    #[test]
    fn an_edge_upwards_is_found() {
        assert_eq!(
            found(&[
                ("usher-api", &[("usher-engine", "")]),
                ("usher-engine", &[])
            ])
            .len(),
            1
        );
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        assert_eq!(found(&[("usher-new", &[])]).len(), 1);
    }

    #[test]
    fn impure_crates_below_the_core_are_found_however_deep() {
        let crates: &[(&str, &[(&str, &str)])] = &[
            ("usher-core", &[("usher-made-up", "")]),
            ("usher-made-up", &[("tokio", "")]),
        ];
        let found = found(crates);
        assert!(
            found
                .iter()
                .any(|text| text.contains("usher-core reaches `tokio`")),
            "{found:?}"
        );
    }

    #[test]
    fn the_wasm_runtime_is_found_outside_of_its_crate() {
        let crates: &[(&str, &[(&str, &str)])] = &[
            (
                "usher-node",
                &[("wasmtime-wasi-http", ""), ("wasmparser", "")],
            ),
            ("usher", &[("cranelift-codegen", "dev")]),
        ];
        assert_eq!(found(crates).len(), 2);
    }
}

//! `cargo xtask audit`: what the packages that are built in may be, judged from `Cargo.lock` and
//! their manifests.
//!
//! - licences: each package's SPDX expression can be met with licences of [`LICENCES`] alone;
//! - duplicates: a package in several versions stands in [`DUPLICATES`] with the reason, and
//!   nothing stands there that is no longer true;
//! - sources: everything comes from cargo's default registry or from this checkout;
//! - versions: no manifest of ours takes any version that comes;
//! - `Cargo.lock` fits the manifests (`cargo metadata --locked` refuses otherwise).
//!
//! The packages of one platform count, so that what is never built is not judged. It needs no
//! network once the packages are there. Deliberately absent: known weaknesses of packages, whose
//! list has to be fetched anew each day; `cargo-deny`, which knows more, but takes longer to build
//! than everything that it would judge.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use spdx::Expression;

use crate::workspace::{self, Package, Workspace};

/// Licences that ask for no more than a notice.
const LICENCES: [&str; 9] = [
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];
/// Exceptions that give more rights, and never fewer.
const EXCEPTIONS: [&str; 1] = ["LLVM-exception"];
/// Packages in several versions, and why that is so. It ends when those that are named move on.
const DUPLICATES: &[(&str, &str)] = &[
    (
        "base64",
        "instant-acme is one generation behind pem, under rcgen",
    ),
    (
        "cpufeatures",
        "wasmtime's sha2 is one generation behind rand's chacha20",
    ),
    (
        "embedded-io",
        "postcard, under wasmtime, names two for its users to choose from; neither is built",
    ),
    ("getrandom", "ring is two generations behind rand"),
    (
        "hashbrown",
        "gimli, under wasmtime, is one generation behind indexmap",
    ),
    (
        "io-lifetimes",
        "cap-primitives, under wasmtime-wasi, takes both",
    ),
    ("rand", "opentelemetry_sdk is one generation behind"),
    ("rand_core", "under both generations of rand"),
    (
        "syn",
        "authors of macros are moving to 3; macros run at build time only",
    ),
    (
        "synstructure",
        "asn1-rs, under rcgen, is one generation behind; macros run at build time only",
    ),
    (
        "winnow",
        "toml 0.9 takes 0.7 itself and 1.0 through its parser",
    ),
];
/// How cargo's default registry is called in `Cargo.lock`, less its host.
const REGISTRY_END: &str = "/crates.io-index";

/// Judges the whole checkout; prints every finding; fails if there is one.
pub(crate) fn run() -> Result<()> {
    let workspace = Workspace::load(&workspace::root())?;
    let findings = inspect(&workspace, DUPLICATES);
    for finding in &findings {
        println!("{finding}");
    }
    ensure!(
        findings.is_empty(),
        "{} findings in the audit of the dependencies",
        findings.len()
    );
    println!("{} packages audited", workspace.packages.len());
    Ok(())
}

fn inspect(workspace: &Workspace, duplicates: &[(&str, &str)]) -> Vec<String> {
    let mut findings: Vec<String> = workspace.packages.iter().filter_map(licence).collect();
    findings.extend(workspace.packages.iter().filter_map(source));
    findings.extend(workspace.members().flat_map(versions));
    findings.extend(repeated(workspace, duplicates));
    findings
}

fn licence(package: &Package) -> Option<String> {
    let name = format!("{} {}", package.name, package.version);
    let Some(text) = &package.license else {
        return Some(format!(
            "{name} declares no licence; read it, or do without the package"
        ));
    };
    let expression = match Expression::parse_mode(text, spdx::ParseMode::LAX) {
        Ok(expression) => expression,
        Err(error) => return Some(format!("{name}: `{text}` is no licence: {}", error.reason)),
    };
    let met = expression.evaluate(|wanted| {
        let licence = wanted
            .license
            .id()
            .is_some_and(|id| LICENCES.contains(&id.name));
        let exception = wanted.addition.as_ref().is_none_or(|addition| {
            addition
                .id()
                .is_some_and(|id| EXCEPTIONS.contains(&id.name))
        });
        licence && exception
    });
    (!met).then(|| format!("{name}: `{text}` asks for more than a notice; do without the package"))
}

fn source(package: &Package) -> Option<String> {
    let known = |source: &String| source.starts_with("registry+") && source.ends_with(REGISTRY_END);
    let strange = package.source.as_ref().filter(|source| !known(source))?;
    Some(format!(
        "{} {} comes from {strange}; take it from the default registry",
        package.name, package.version
    ))
}

fn versions(package: &Package) -> impl Iterator<Item = String> {
    let any = (package.dependencies.iter()).filter(|to| to.req == "*" && to.source.is_some());
    any.map(|to| {
        format!(
            "{} takes any version of {}; state one",
            package.name, to.name
        )
    })
}

fn repeated(workspace: &Workspace, known: &[(&str, &str)]) -> Vec<String> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &workspace.packages {
        versions
            .entry(&package.name)
            .or_default()
            .push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let is_known = |name: &str| known.iter().any(|(of, _)| *of == name);
    let new = versions.iter().filter(|(name, _)| !is_known(name));
    let mut findings: Vec<String> = new
        .map(|(name, versions)| {
            let versions = versions.join(", ");
            format!("{name} is there as {versions}; agree on one, or give a reason in audit.rs")
        })
        .collect();
    let gone = known
        .iter()
        .filter(|(name, _)| !versions.contains_key(name));
    findings.extend(gone.map(|(name, _)| format!("{name} is there once; strike it in audit.rs")));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::tests::made_up;

    /// A workspace of one crate with one outside package, changed by the test.
    fn with(change: impl FnOnce(&mut Package)) -> Workspace {
        let mut workspace = made_up(&[("own", &[("outside", "")])]);
        for package in &mut workspace.packages {
            let registry = format!("registry+https://example.org{REGISTRY_END}");
            package.source = (package.name == "outside").then_some(registry);
            let source = package.source.clone();
            package
                .dependencies
                .iter_mut()
                .for_each(|to| to.source = source.clone());
        }
        let outside = workspace
            .packages
            .iter_mut()
            .find(|package| package.name == "outside");
        if let Some(outside) = outside {
            change(outside);
        }
        workspace
    }

    fn licensed(text: Option<&str>) -> usize {
        let license = text.map(str::to_owned);
        inspect(&with(|package| package.license = license), &[]).len()
    }

    #[test]
    fn licences_that_ask_for_a_notice_only_pass() {
        let good = [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
        ];
        for text in good {
            assert_eq!(licensed(Some(text)), 0, "{text}");
        }
    }

    #[test]
    fn other_licences_are_found() {
        let bad = [
            "GPL-3.0-only",
            "MIT AND LGPL-2.1-only",
            "MIT WITH Font-exception-2.0",
            "Own",
        ];
        for text in bad {
            assert_eq!(licensed(Some(text)), 1, "{text}");
        }
        assert_eq!(licensed(None), 1);
    }

    #[test]
    fn packages_from_elsewhere_are_found() {
        let from = |source: &str| {
            let source = Some(source.to_owned());
            inspect(&with(|package| package.source = source), &[]).len()
        };
        assert_eq!(from("git+https://example.org/x#abc"), 1);
        assert_eq!(from("registry+https://example.org/other-index"), 1);
    }

    #[test]
    fn any_version_is_found_in_our_manifests() {
        let mut workspace = with(|_| {});
        assert!(inspect(&workspace, &[]).is_empty());
        for package in &mut workspace.packages {
            for to in &mut package.dependencies {
                to.req = "*".to_owned();
                to.source = Some("registry".to_owned());
            }
        }
        assert_eq!(
            inspect(&workspace, &[]),
            ["own takes any version of outside; state one"]
        );
    }

    #[test]
    fn repeated_packages_are_found_unless_a_reason_is_given_and_reasons_must_be_needed() {
        let twice = with(|package| package.name = "own".to_owned());
        let reason = [("own", "because")];
        assert_eq!(inspect(&twice, &[]).len(), 1);
        assert_eq!(inspect(&twice, &reason).len(), 0);
        assert_eq!(inspect(&with(|_| {}), &reason).len(), 1);
    }
}

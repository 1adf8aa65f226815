//! `usher new`: a folder with a function that works, to begin with.
//!
//! ```text
//!  language, kind ─► template (files of this binary) ─► named ─► a folder that was not there
//! ```
//!
//! A template is a function that works as it is, called my-function. Nothing is fetched.
//!
//! Deliberately absent: building it, which its manifest says, and `usher dev` does.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::json;
use usher_core::id::Name;

use crate::cli::{Kind, Lang, New};
use crate::output;

/// What templates are called.
const PLACEHOLDER: &str = "my-function";

/// The files of a template, by path from its folder.
type Template = &'static [(&'static str, &'static str)];

macro_rules! template {
    ($folder:literal: $($file:literal)*) => {
        &[$(($file, include_str!(concat!("../templates/", $folder, "/", $file)))),*]
    };
}

const JS_PROGRAM: Template =
    template!("js-program": "function.toml" "app.js" ".gitignore" "README.md");
const JS_COMPONENT: Template = template!(
    "js-component":
    "function.toml" "build.sh" "world.wit" "app.js" "package.json" ".gitignore" "README.md"
);
const PY_PROGRAM: Template =
    template!("py-program": "function.toml" "app.py" ".gitignore" "README.md");
const RUST_COMPONENT: Template = template!(
    "rust-component": "function.toml" "build.sh" "Cargo.toml" "src/lib.rs" ".gitignore" "README.md"
);
const RUST_PROGRAM: Template = template!(
    "rust-program": "function.toml" "Cargo.toml" "src/main.rs" ".gitignore" "README.md"
);
const C_PROGRAM: Template =
    template!("c-program": "function.toml" "Makefile" "server.c" ".gitignore" "README.md");

/// Makes the folder.
pub(crate) fn run(new: &New, json: bool) -> anyhow::Result<()> {
    let folder = Path::new(new.name.as_str());
    let kind = new.kind.unwrap_or(usual(new.lang));
    let Some(template) = template(new.lang, kind) else {
        bail!(
            "there is no template of a component in this language, whose tools do not bring the \
             interfaces (WIT) along; --kind program makes one that needs none"
        );
    };
    make(template, &new.name, folder)?;
    if json {
        let files: Vec<_> = template.iter().map(|(file, _)| folder.join(file)).collect();
        return output::json(&json!({ "folder": folder, "files": files }));
    }
    output::line(format!("{} was made; now:", folder.display()))?;
    Ok(output::line(format!("  usher dev {}", folder.display()))?)
}

/// What a language's functions are where nobody says it: what needs the fewest tools.
fn usual(lang: Lang) -> Kind {
    match lang {
        Lang::Rust => Kind::Component,
        Lang::Js | Lang::Py | Lang::C => Kind::Program,
    }
}

fn template(lang: Lang, kind: Kind) -> Option<Template> {
    Some(match (lang, kind) {
        (Lang::Js, Kind::Program) => JS_PROGRAM,
        (Lang::Js, Kind::Component) => JS_COMPONENT,
        (Lang::Py, Kind::Program) => PY_PROGRAM,
        (Lang::Rust, Kind::Component) => RUST_COMPONENT,
        (Lang::Rust, Kind::Program) => RUST_PROGRAM,
        (Lang::C, Kind::Program) => C_PROGRAM,
        (Lang::C | Lang::Py, Kind::Component) => return None,
    })
}

/// Writes a template's files into a folder that is made for them.
fn make(template: Template, name: &Name, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir(folder).with_context(|| {
        let folder = folder.display();
        format!("the folder {folder} was not made; is there something of that name?")
    })?;
    for (file, text) in template {
        let path = folder.join(file);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::File::create_new(&path))
            .and_then(|mut file| file.write_all(named(text, name).as_bytes()));
        written.with_context(|| format!("{} was not written", path.display()))?;
    }
    Ok(())
}

/// A text of a template with the function's own name; Rust has another letter for the hyphen.
fn named(text: &str, name: &Name) -> String {
    let crate_name = |name: &str| name.replace('-', "_");
    text.replace(PLACEHOLDER, name.as_str())
        .replace(&crate_name(PLACEHOLDER), &crate_name(name.as_str()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::ValueEnum;
    use usher_api::manifest::{MANIFEST_FILE, Manifest};

    use super::*;

    fn all() -> impl Iterator<Item = (Lang, Kind, Template)> {
        let of = |lang: &Lang| {
            let lang = *lang;
            let kinds = Kind::value_variants().iter();
            kinds.filter_map(move |kind| Some((lang, *kind, template(lang, *kind)?)))
        };
        Lang::value_variants().iter().flat_map(of)
    }

    #[test]
    fn every_template_is_a_function_of_its_kind_under_its_new_name() {
        let name: Name = "it-is-new".parse().unwrap();
        for (lang, kind, template) in all() {
            let around = tempfile::tempdir().unwrap();
            let folder = around.path().join("it-is-new");
            make(template, &name, &folder).unwrap();
            let text = fs::read_to_string(folder.join(MANIFEST_FILE)).unwrap();
            let manifest = Manifest::read(&text).unwrap();
            assert_eq!(manifest.name, name, "{lang:?} {kind:?}");
            let is_program = manifest.settings.process.is_some();
            assert_eq!(is_program, kind == Kind::Program, "{lang:?} {kind:?}");
            for (file, _) in template {
                let text = fs::read_to_string(folder.join(file)).unwrap();
                let told = text.contains(PLACEHOLDER) || text.contains("my_function");
                assert!(!told, "{lang:?} {kind:?}: {file}");
            }
            let readme = fs::read_to_string(folder.join("README.md")).unwrap();
            assert!(readme.lines().count() <= 12, "{lang:?} {kind:?}");
            // It is not made a second time.
            let error = make(template, &name, &folder).unwrap_err().to_string();
            assert!(error.contains("something of that name"), "{error}");
        }
    }

    #[test]
    fn every_language_has_its_usual_kind() {
        for lang in Lang::value_variants() {
            assert!(template(*lang, usual(*lang)).is_some(), "{lang:?}");
        }
    }
}

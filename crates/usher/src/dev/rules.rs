//! Which files are source: where they are looked for, and what among them is none.
//!
//! ```text
//!  a file            ─► that file
//!  a folder          ─► all of it, or what build.watch names, and function.toml
//!  nothing is built  ─► what is deployed too, although .gitignore may name it
//!   minus .gitignore, what tools and editors leave behind, build.ignore, and what a build makes
//! ```
//!
//! Deliberately absent: reading the files (`tree`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use usher_api::manifest::{Content, MANIFEST_FILE, Manifest};

/// What tools and editors leave behind, in the words of a `.gitignore`.
const NOISE: [&str; 24] = [
    ".git",
    ".hg",
    ".svn",
    ".jj",
    ".idea",
    ".vscode",
    ".venv",
    "venv",
    "node_modules",
    "target",
    "__pycache__",
    "*.pyc",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".zig-cache",
    "zig-out",
    ".DS_Store",
    "*~",
    "*.swp",
    "*.swx",
    ".#*",
    r"\#*#",
    "4913",
];

/// Which files are source.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    roots: Vec<PathBuf>,
    noise: Arc<Gitignore>,
}

impl Rules {
    /// Those of what is at `path`, an absolute one; a folder may have a manifest.
    pub(crate) fn of(path: &Path, manifest: Option<&Manifest>) -> Self {
        let folder = match path.is_file() {
            true => path.parent().unwrap_or(path),
            false => path,
        };
        let build = manifest.and_then(|manifest| manifest.build.as_ref());
        let mut roots = Vec::new();
        match build {
            Some(build) if !build.watch.is_empty() => {
                roots.push(folder.join(MANIFEST_FILE));
                roots.extend(build.watch.iter().map(|watched| folder.join(watched)));
            }
            _ => roots.push(path.to_owned()),
        }
        let mut noise = GitignoreBuilder::new(folder);
        let ignored = build.map(|build| build.ignore.as_slice());
        let ignored = ignored.unwrap_or_default().iter().map(String::as_str);
        for line in NOISE.into_iter().chain(ignored) {
            // A pattern that cannot be read ignores nothing.
            let _ = noise.add_line(None, line);
        }
        match (build, manifest.map(|manifest| &manifest.content)) {
            (Some(_), Some(Content::Component(made))) => ignore_made(&mut noise, made),
            (Some(_), Some(Content::Folder(made))) if made != "." => {
                ignore_made(&mut noise, made);
            }
            (None, Some(Content::Component(made) | Content::Folder(made))) if made != "." => {
                roots.push(folder.join(made));
            }
            _ => {}
        }
        Self {
            roots,
            noise: Arc::new(noise.build().unwrap_or_else(|_| Gitignore::empty())),
        }
    }

    /// Where source is looked for, files and folders.
    pub(crate) fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// The one that must be there.
    pub(crate) fn main(&self) -> &Path {
        self.roots.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// Whether what has this name is no source, whatever a `.gitignore` says besides.
    pub(crate) fn ignores(&self, path: &Path, is_folder: bool) -> bool {
        self.noise.matched(path, is_folder).is_ignore()
    }
}

/// What a build makes is not what it is made of.
fn ignore_made(noise: &mut GitignoreBuilder, made: &str) {
    let escaped: String = made
        .chars()
        .flat_map(|letter| {
            let special = matches!(letter, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!' | '#');
            special.then_some('\\').into_iter().chain([letter])
        })
        .collect();
    let _ = noise.add_line(None, &format!("/{}", escaped.trim_start_matches("./")));
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn rules(lines: &str) -> Rules {
        let manifest = Manifest::read(&format!("name = \"f\"\n{lines}")).unwrap();
        Rules::of(Path::new("/f"), Some(&manifest))
    }

    #[test]
    fn what_a_build_makes_is_no_source_and_what_nobody_builds_is() {
        let built = rules("component = \"out/f.wasm\"\n[build]\ncommand = [\"make\"]\n");
        assert!(built.ignores(Path::new("/f/out/f.wasm"), false));
        assert!(!built.ignores(Path::new("/f/src/f.wasm"), false));
        assert_eq!(built.roots(), [PathBuf::from("/f")]);
        let given = rules("component = \"out/f.wasm\"\n");
        assert!(!given.ignores(Path::new("/f/out/f.wasm"), false));
        assert_eq!(given.roots().last().unwrap(), Path::new("/f/out/f.wasm"));
        let program = "[process]\ncontract = \"http\"\ncommand = [\"./run\"]\n";
        assert_eq!(rules(program).roots(), [PathBuf::from("/f")]);
    }

    #[test]
    fn the_author_says_what_is_watched_and_what_not() {
        let rules = rules(
            "component = \"f.wasm\"\n[build]\ncommand = [\"make\"]\nwatch = [\"src\"]\n\
             ignore = [\"*.gen.rs\", \"!target\"]\n",
        );
        assert_eq!(rules.main(), Path::new("/f/function.toml"));
        assert_eq!(rules.roots()[1], Path::new("/f/src"));
        assert!(rules.ignores(Path::new("/f/src/a.gen.rs"), false));
        assert!(!rules.ignores(Path::new("/f/target"), true));
        assert!(rules.ignores(Path::new("/f/node_modules"), true));
        assert!(rules.ignores(Path::new("/f/src/#a.rs#"), false));
    }
}

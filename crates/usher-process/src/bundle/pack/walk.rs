//! What of a folder is packed.
//!
//! Deliberately absent: the archive.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::super::Bounds;
use super::super::name::{checked, link_steps, link_target, shown};
use super::{IGNORE_FILE, Member, MemberKind, PackError};

/// What tools leave in folders and no program needs, in the words of a `.gitignore`. A line of
/// `.usherignore` with `!` takes one back.
const LEFT_BY_TOOLS: [&str; 9] = [
    ".git",
    ".hg",
    ".svn",
    ".DS_Store",
    "__pycache__/",
    ".pytest_cache/",
    ".mypy_cache/",
    ".ruff_cache/",
    "/.usherignore",
];
/// The build folder of a Rust project, beside its manifest; it is large, and a folder of this name
/// may be anything elsewhere.
const RUST_MANIFEST: &str = "Cargo.toml";
const RUST_TARGET: &str = "target";
/// What makes a folder a Python virtual environment.
const VENV_MARK: &str = "pyvenv.cfg";

/// All that is packed, sorted by path, folders before what is in them.
pub(super) fn members(folder: &Path, bounds: Bounds) -> Result<Vec<Member>, PackError> {
    let root = fs::canonicalize(folder).map_err(unreadable(folder))?;
    let mut walk = Walk {
        ignored: ignored(&root)?,
        root,
        found: BTreeMap::new(),
        entries_max: bounds.entries_max,
    };
    let mut open = vec![String::new()];
    while let Some(path) = open.pop() {
        open.extend(walk.folder(&path)?);
    }
    check_links(&walk.found)?;
    let members = walk.found.into_iter();
    Ok(members.map(|(path, kind)| Member { path, kind }).collect())
}

/// What a file is.
pub(super) fn file_kind(about: &Metadata) -> MemberKind {
    MemberKind::File {
        bytes: about.len(),
        executable: about.permissions().mode() & 0o111 != 0,
    }
}

fn unreadable(at: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> PackError {
    let at = at.into();
    |source| PackError::Io { at, source }
}

fn ignored(root: &Path) -> Result<Gitignore, PackError> {
    let wrong = |error: ignore::Error| PackError::Ignore(error.to_string());
    let mut lines = GitignoreBuilder::new(root);
    for line in LEFT_BY_TOOLS {
        lines.add_line(None, line).map_err(wrong)?;
    }
    if root.join(RUST_MANIFEST).is_file() {
        let line = format!("/{RUST_TARGET}/");
        lines.add_line(None, &line).map_err(wrong)?;
    }
    let file = root.join(IGNORE_FILE);
    if file.exists()
        && let Some(error) = lines.add(&file)
    {
        return Err(wrong(error));
    }
    lines.build().map_err(wrong)
}

struct Walk {
    root: PathBuf,
    ignored: Gitignore,
    found: BTreeMap<String, MemberKind>,
    entries_max: usize,
}

impl Walk {
    /// Notes what is in a folder, and answers the folders in it.
    fn folder(&mut self, path: &str) -> Result<Vec<String>, PackError> {
        let here = self.root.join(path);
        let mut folders = Vec::new();
        for entry in fs::read_dir(&here).map_err(unreadable(&here))? {
            let entry = entry.map_err(unreadable(&here))?;
            let at = entry.path();
            let about = fs::symlink_metadata(&at).map_err(unreadable(&at))?;
            if self.ignored.matched(&at, about.is_dir()).is_ignore() {
                continue;
            }
            let name = self.name(path, &entry.file_name())?;
            let Some(kind) = self.kind(&name, &at, &about)? else {
                continue;
            };
            if kind == MemberKind::Folder {
                folders.push(name.clone());
            }
            self.found.insert(name, kind);
            if self.found.len() > self.entries_max {
                let entries_max = self.entries_max;
                return Err(PackError::TooMany { entries_max });
            }
        }
        Ok(folders)
    }

    fn name(&self, folder: &str, name: &std::ffi::OsStr) -> Result<String, PackError> {
        let refused = |why: String| PackError::Name {
            path: shown(&Path::new(folder).join(name).to_string_lossy()),
            why,
        };
        let name = name.to_str();
        let name = name.ok_or_else(|| refused("its name is no UTF-8".to_owned()))?;
        let path = match folder {
            "" => name.to_owned(),
            folder => format!("{folder}/{name}"),
        };
        checked(&path).map_err(|error| refused(error.to_string()))
    }

    /// What something is; none where it is left out.
    fn kind(
        &self,
        name: &str,
        at: &Path,
        about: &Metadata,
    ) -> Result<Option<MemberKind>, PackError> {
        if about.is_dir() {
            return Ok(Some(MemberKind::Folder));
        }
        if about.is_file() {
            return Ok(Some(file_kind(about)));
        }
        if !about.is_symlink() {
            let why = "it is a device, a pipe or a socket".to_owned();
            let path = name.to_owned();
            return Err(PackError::Name { path, why });
        }
        let target = fs::read_link(at).map_err(unreadable(at))?;
        let target = target.to_string_lossy().into_owned();
        if self.is_interpreter(name, at) {
            return Ok(None);
        }
        match link_target(name, &target) {
            Ok(_) => Ok(Some(MemberKind::Link(target))),
            Err(why) => Err(PackError::Link {
                path: name.to_owned(),
                target,
                why,
            }),
        }
    }

    /// Whether this is the interpreter of a virtual environment, and in the end not in the folder.
    fn is_interpreter(&self, name: &str, at: &Path) -> bool {
        let Some((bin, "bin", file)) = split_twice(name) else {
            return false;
        };
        let outside = fs::canonicalize(at).is_ok_and(|end| !end.starts_with(&self.root));
        let venv = self.root.join(bin).join(VENV_MARK);
        file.starts_with("python") && outside && venv.is_file()
    }
}

/// The folder above, the folder and the file's name of a path.
fn split_twice(path: &str) -> Option<(&str, &str, &str)> {
    let (folder, file) = path.rsplit_once('/')?;
    let (above, folder) = folder.rsplit_once('/').unwrap_or(("", folder));
    Some((above, folder, file))
}

/// The same rule as for unpacking, told before anything is sent.
fn check_links(found: &BTreeMap<String, MemberKind>) -> Result<(), PackError> {
    for (path, kind) in found {
        let MemberKind::Link(target) = kind else {
            continue;
        };
        let is_folder = |step: String| found.get(&step) == Some(&MemberKind::Folder);
        if !link_steps(path, target).all(is_folder) {
            return Err(PackError::Link {
                path: path.clone(),
                target: target.clone(),
                why: "it leads through another link, or through what is left out",
            });
        }
    }
    Ok(())
}

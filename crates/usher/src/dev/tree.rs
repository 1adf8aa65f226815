//! The source as it stands: which files matter, and what is in each.
//!
//! A file is read again only where its times, size or number say that it may be another one, and
//! differs only where its bytes do: a file that was touched is the same.
//!
//! Deliberately absent: noticing that there is something to look at (`watch`).

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ignore::{DirEntry, WalkBuilder};
use sha2::{Digest, Sha256};

use super::rules::Rules;

/// How many files are watched.
pub(crate) const FILES_MAX: usize = 20_000;
/// Larger files are not read: their size and their time of change decide, in bytes.
const READ_MAX_BYTES: u64 = 64 << 20;
/// A file that was changed so shortly before it was read may be changed again within the same tick
/// of the clock, so that nothing tells it, in milliseconds.
const TICK_MAX_MS: u64 = 100;
/// How many folders a message names.
const NAMED_MAX: usize = 3;

/// The files that matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<PathBuf, Print>);

/// A file as it was found.
#[derive(Clone, Debug)]
struct Print {
    stamp: Stamp,
    /// Whether the stamp alone can show a change.
    sure: bool,
    content: [u8; 32],
    executable: bool,
}

/// What a file's entry says, which changes wherever its content does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why the source could not be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// It cannot be read.
    #[error("{} cannot be read; was it moved?", at.display())]
    Gone {
        /// What.
        at: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something in it cannot be read.
    #[error("the source cannot be read")]
    Walk(#[source] ignore::Error),
    /// A folder cannot be watched.
    #[error("{} cannot be watched: {}", at.display(), watches(source))]
    Watch {
        /// Which.
        at: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// There are too many files.
    #[error(
        "there are more than {FILES_MAX} files to watch, most of them in {fullest}; name what is \
         no source in .gitignore, or under [build] as ignore = [\"…\"]"
    )]
    TooMany {
        /// Where most of them are.
        fullest: String,
    },
}

fn watches(error: &io::Error) -> &'static str {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::NOSPC) => {
            "this user watches too many folders; raise fs.inotify.max_user_watches, or name what \
             is no source in .gitignore"
        }
        _ => "is it on a file system that tells of changes?",
    }
}

impl Tree {
    /// Looks at all files that matter; `before` spares reading those that are the same. `watch` is
    /// told of every folder before it is read, so that no change is missed. Blocks.
    pub(crate) fn scan(
        rules: &Rules,
        before: &Self,
        mut watch: impl FnMut(&Path) -> io::Result<()>,
    ) -> Result<Self, ScanError> {
        let mut tree = Self::default();
        for root in rules.roots() {
            let about = match fs::metadata(root) {
                Ok(about) => about,
                Err(source) if root == rules.main() => {
                    let at = root.clone();
                    return Err(ScanError::Gone { at, source });
                }
                // What the manifest names besides may come later.
                Err(_) => continue,
            };
            if about.is_file() {
                tree.add(root, before);
                continue;
            }
            for entry in walk(root, rules) {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) if is_gone(&error) => continue,
                    Err(error) => return Err(ScanError::Walk(error)),
                };
                tree.enter(&entry, before, &mut watch)?;
            }
        }
        Ok(tree)
    }

    fn enter(
        &mut self,
        entry: &DirEntry,
        before: &Self,
        watch: &mut impl FnMut(&Path) -> io::Result<()>,
    ) -> Result<(), ScanError> {
        let path = entry.path();
        if !entry.file_type().is_some_and(|kind| kind.is_dir()) {
            self.add(path, before);
            if self.0.len() > FILES_MAX {
                let fullest = self.fullest();
                return Err(ScanError::TooMany { fullest });
            }
            return Ok(());
        }
        match watch(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ScanError::Watch {
                at: path.to_owned(),
                source,
            }),
            // It went away, which somebody who looks up at it is told.
            _ => Ok(()),
        }
    }

    /// Adds a file; one that went away meanwhile is none.
    fn add(&mut self, path: &Path, before: &Self) {
        if let Ok(print) = Print::of(path, before.0.get(path)) {
            self.0.insert(path.to_owned(), print);
        }
    }

    /// The files that are there in one of both only, or are not the same.
    pub(crate) fn differing(&self, before: &Self) -> Vec<PathBuf> {
        let is_new = |(path, print): &(&PathBuf, &Print)| {
            let was = before.0.get(*path);
            was.is_none_or(|was| was.content != print.content || was.executable != print.executable)
        };
        let new = self.0.iter().filter(is_new).map(|(path, _)| path);
        let gone = before.0.keys().filter(|path| !self.0.contains_key(*path));
        new.chain(gone).cloned().collect()
    }

    /// The folders that hold the most files.
    fn fullest(&self) -> String {
        let mut counts: BTreeMap<&Path, usize> = BTreeMap::new();
        for path in self.0.keys() {
            *counts.entry(path.parent().unwrap_or(path)).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().map(|(path, n)| (n, path)).collect();
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let shown = counts.iter().take(NAMED_MAX);
        let shown: Vec<_> = shown
            .map(|(count, path)| format!("{} ({count})", path.display()))
            .collect();
        shown.join(", ")
    }
}

fn walk(root: &Path, rules: &Rules) -> ignore::Walk {
    let rules = rules.clone();
    WalkBuilder::new(root)
        .standard_filters(false)
        .parents(true)
        .git_ignore(true)
        .git_exclude(true)
        .require_git(false)
        .filter_entry(move |entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            entry.depth() == 0 || !rules.ignores(entry.path(), is_folder)
        })
        .build()
}

fn is_gone(error: &ignore::Error) -> bool {
    let kind = error.io_error().map(io::Error::kind);
    kind == Some(io::ErrorKind::NotFound)
}

impl Print {
    fn of(path: &Path, before: Option<&Self>) -> io::Result<Self> {
        // A link is what it leads to; one that leads nowhere, or to a folder, is its own text.
        let about = fs::metadata(path).or_else(|_| fs::symlink_metadata(path))?;
        let stamp = Stamp::of(&about);
        let executable = about.is_file() && about.permissions().mode() & 0o111 != 0;
        if let Some(before) = before.filter(|before| before.sure && before.stamp == stamp) {
            return Ok(before.clone());
        }
        let sure = is_settled(&about);
        let content = match about.is_file() {
            true if about.len() > READ_MAX_BYTES => {
                Sha256::digest(format!("{:?}", (stamp.bytes, stamp.modified)))
            }
            true => {
                let mut hasher = Sha256::new();
                io::copy(&mut File::open(path)?, &mut hasher)?;
                hasher.finalize()
            }
            false => {
                let target = fs::read_link(path).unwrap_or_default();
                Sha256::digest(target.as_os_str().as_encoded_bytes())
            }
        };
        Ok(Self {
            stamp,
            sure,
            content: content.into(),
            executable,
        })
    }
}

/// Whether the last change was long enough ago that a next one has another time.
fn is_settled(about: &Metadata) -> bool {
    let changed = Duration::new(
        u64::try_from(about.ctime()).unwrap_or(0),
        u32::try_from(about.ctime_nsec()).unwrap_or(0),
    );
    let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + changed);
    age.is_ok_and(|age| age > Duration::from_millis(TICK_MAX_MS))
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        Self {
            inode: about.ino(),
            bytes: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn scan(folder: &Path, before: &Tree) -> Tree {
        Tree::scan(&Rules::of(folder, None), before, |_| Ok(())).unwrap()
    }

    fn names(folder: &Path, tree: &Tree) -> Vec<String> {
        let of = |path: &PathBuf| path.strip_prefix(folder).unwrap().display().to_string();
        tree.0.keys().map(of).collect()
    }

    #[test]
    fn what_is_ignored_or_made_by_tools_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for path in [
            "app.py",
            "inner/more.py",
            "inner/own.log",
            "dist/made.js",
            "node_modules/a/index.js",
            "__pycache__/app.pyc",
            ".git/HEAD",
            "app.py~",
            ".app.py.swp",
            "#app.py#",
            ".cargo/config.toml",
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(folder.join(".gitignore"), "dist/\n").unwrap();
        fs::write(folder.join("inner/.gitignore"), "*.log\n").unwrap();
        let tree = scan(folder, &Tree::default());
        let found = names(folder, &tree);
        let expected = [
            ".cargo/config.toml",
            ".gitignore",
            "app.py",
            "inner/.gitignore",
            "inner/more.py",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_what_has_other_bytes_or_rights_differs() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let at = |name: &str| folder.join(name);
        for name in ["same", "other", "gone", "run"] {
            fs::write(at(name), name).unwrap();
        }
        let before = scan(folder, &Tree::default());
        fs::write(at("same"), "same").unwrap();
        fs::write(at("other"), "OTHER").unwrap();
        fs::remove_file(at("gone")).unwrap();
        fs::write(at("new"), "").unwrap();
        fs::set_permissions(at("run"), fs::Permissions::from_mode(0o755)).unwrap();
        let mut differing = scan(folder, &before).differing(&before);
        differing.sort();
        assert_eq!(differing, ["gone", "new", "other", "run"].map(at));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let scanned = Tree::scan(&Rules::of(&gone, None), &Tree::default(), |_| Ok(()));
        let error = scanned.unwrap_err().to_string();
        assert!(error.contains("gone cannot be read"), "{error}");
    }

    #[test]
    fn too_many_files_are_told_with_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let many = folder.path().join("many");
        fs::create_dir(&many).unwrap();
        for nth in 0..=FILES_MAX {
            File::create(many.join(format!("f{nth}"))).unwrap();
        }
        let scanned = Tree::scan(
            &Rules::of(folder.path(), None),
            &Tree::default(),
            |_| Ok(()),
        );
        let error = scanned.unwrap_err().to_string();
        assert!(error.contains("/many ("), "{error}");
        fs::write(folder.path().join(".gitignore"), "many\n").unwrap();
        assert_eq!(scan(folder.path(), &Tree::default()).0.len(), 1);
    }
}

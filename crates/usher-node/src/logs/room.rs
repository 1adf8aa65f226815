//! What the files of all logs take together, and which of them go when that is too much.
//!
//! ```text
//! counted at the start ─► grown by what is written ─► over the bound? ─► counted, oldest go
//! ```
//!
//! Each function's files are bounded by themselves; ten thousand functions that all write would
//! fill a disk all the same. Files go whole, those first that were written longest ago, until a
//! tenth of the bound is free again, so that they are seldom counted.
//!
//! Deliberately absent: a record of each file. The folder is the record.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The part of the bound that is made free, one in so many.
const FREE_ONE_IN: u64 = 10;

/// The room that files take; of the writer's thread alone.
pub(super) struct Room {
    folder: PathBuf,
    max_bytes: u64,
    bytes: u64,
}

/// What was removed to make room.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Removed {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

struct File {
    written: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Room {
    /// Counts what is there.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Self {
        let mut room = Self {
            folder: folder.to_owned(),
            max_bytes,
            bytes: 0,
        };
        room.bytes = room.files().iter().map(|file| file.bytes).sum();
        room
    }

    /// What files take, as far as is known: rotation may have removed some since.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// So much was written; removes what is too much.
    pub(super) fn grown(&mut self, bytes: u64) -> Removed {
        self.bytes += bytes;
        match self.bytes > self.max_bytes {
            true => self.shrink(),
            false => Removed::default(),
        }
    }

    fn shrink(&mut self) -> Removed {
        let mut files = self.files();
        self.bytes = files.iter().map(|file| file.bytes).sum();
        let mut removed = Removed::default();
        if self.bytes <= self.max_bytes {
            return removed;
        }
        files.sort_by_key(|file| file.written);
        let wanted = self.max_bytes - self.max_bytes / FREE_ONE_IN;
        for file in files {
            if self.bytes <= wanted {
                break;
            }
            match fs::remove_file(&file.path) {
                Ok(()) => {
                    self.bytes = self.bytes.saturating_sub(file.bytes);
                    removed.files += 1;
                    removed.bytes += file.bytes;
                }
                Err(error) => {
                    let path = file.path.display();
                    tracing::warn!(%path, %error, "an old log could not be removed");
                }
            }
        }
        removed
    }

    /// All files of all owners. What cannot be looked at takes no part.
    fn files(&self) -> Vec<File> {
        let mut files = Vec::new();
        for owner in entries(&self.folder) {
            for path in entries(&owner) {
                let Ok(found) = fs::symlink_metadata(&path) else {
                    continue;
                };
                if found.is_file() && path.extension().is_some_and(|kind| kind == "jsonl") {
                    files.push(File {
                        written: found.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                        bytes: found.len(),
                        path,
                    });
                }
            }
        }
        files
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries: io::Result<Vec<_>> = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        paths.collect()
    });
    entries.unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn put(folder: &Path, name: &str, bytes: usize, age_s: u64) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, vec![b'x'; bytes]).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        let written = SystemTime::now() - Duration::from_secs(age_s);
        file.set_modified(written).unwrap();
        path
    }

    #[test]
    fn the_oldest_files_go_until_a_tenth_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let oldest = put(folder.path(), "ann/a.1.jsonl", 300, 30);
        let old = put(folder.path(), "bob/b.jsonl", 300, 20);
        let new = put(folder.path(), "ann/a.jsonl", 300, 10);
        let foreign = put(folder.path(), "ann/notes.txt", 5_000, 90);
        let mut room = Room::open(folder.path(), 1_000);
        assert_eq!(room.bytes(), 900);
        assert_eq!(room.grown(100), Removed::default());
        put(folder.path(), "ann/c.jsonl", 400, 0);
        let removed = room.grown(300);
        assert_eq!((removed.files, removed.bytes), (2, 600));
        assert_eq!(room.bytes(), 700);
        let left = [&oldest, &old, &new, &foreign].map(|path| path.exists());
        assert_eq!(left, [false, false, true, true]);
    }

    #[test]
    fn what_rotation_has_removed_is_not_counted_against_it() {
        let folder = tempfile::tempdir().unwrap();
        let gone = put(folder.path(), "ann/a.jsonl", 900, 0);
        let mut room = Room::open(folder.path(), 1_000);
        fs::remove_file(gone).unwrap();
        let stays = put(folder.path(), "ann/b.jsonl", 200, 0);
        assert_eq!(room.grown(200), Removed::default());
        assert_eq!(room.bytes(), 200);
        assert!(stays.exists());
    }
}

//! Noticing that something in the source's folders changed, as the kernel tells it.
//!
//! ```text
//!  inotify ─► drain ─► filter ─► number of the last change ─► whoever waits for a higher one
//!               ▲ the pump, whenever there is something; a request, before it is let pass
//! ```
//!
//! The kernel notes a change before the call that made it returns. So whoever drains sees every
//! change that was saved before.
//!
//! Deliberately absent: whether a change matters beyond its name (`tree`).

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::Instant;

use super::rules::Rules;

/// How long nothing must happen before a burst of changes is over, in milliseconds.
const QUIET_MS: u64 = 20;
/// How long a burst is waited for at most, in milliseconds.
const SETTLE_MAX_MS: u64 = 500;
/// How much of the kernel's notes is read at once, in bytes.
const READ_BYTES: usize = 16 << 10;

/// What of a folder is told. Not each write: a file is looked at when its writer is done with it.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

/// The folders that are watched.
pub(crate) struct Watcher {
    kernel: AsyncFd<OwnedFd>,
    known: Mutex<Known>,
    last: watch::Sender<u64>,
}

#[derive(Default)]
struct Known {
    folders: HashMap<i32, Watched>,
    rules: Option<Rules>,
}

/// A folder, and what in it counts.
struct Watched {
    path: PathBuf,
    /// None: whatever the rules do not ignore.
    only: Option<HashSet<OsString>>,
}

impl Watcher {
    /// Watches nothing yet.
    ///
    /// # Errors
    /// This user has no more such descriptors (`fs.inotify.max_user_instances`).
    pub(crate) fn new() -> io::Result<Self> {
        let kernel = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its twin is unsafe for what is no `OwnedFd`, which this is"
        )]
        let kernel = AsyncFd::new(kernel)?;
        Ok(Self {
            kernel,
            known: Mutex::default(),
            last: watch::Sender::new(0),
        })
    }

    /// From now on these rules decide which names count; what is above the roots is watched, so
    /// that a root that goes and comes again is noticed.
    pub(crate) fn obey(&self, rules: &Rules) {
        self.known.lock().rules = Some(rules.clone());
        for root in rules.roots() {
            if let (Some(above), Some(name)) = (root.parent(), root.file_name()) {
                // Where it cannot be watched, only the root's own end is not noticed.
                let _ = self.add(above, Some(name));
            }
        }
    }

    /// From now on changes in a folder are noticed; only those of one name, or all.
    pub(crate) fn add(&self, folder: &Path, name: Option<&OsStr>) -> io::Result<()> {
        let mut known = self.known.lock();
        let id = inotify::add_watch(self.kernel.get_ref(), folder, CHANGES)?;
        let watched = known.folders.entry(id).or_insert_with(|| Watched {
            path: folder.to_owned(),
            only: Some(HashSet::new()),
        });
        folder.clone_into(&mut watched.path);
        match (name, &mut watched.only) {
            (None, only) => *only = None,
            (Some(name), Some(only)) => drop(only.insert(name.to_owned())),
            (Some(_), None) => {}
        }
        Ok(())
    }

    /// The number of the last change that was saved before this call.
    pub(crate) fn drain(&self) -> u64 {
        // Held while reading, so that nobody sees the number of before after a note was taken out.
        let mut known = self.known.lock();
        let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
        let mut notes = Reader::new(self.kernel.get_ref(), &mut buffer);
        let mut changed = false;
        loop {
            match notes.next() {
                Ok(note) => {
                    let name = note
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()));
                    changed |= known.counts(note.wd(), note.events(), name);
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if changed {
            self.last.send_modify(|last| *last += 1);
        }
        *self.last.borrow()
    }

    /// Drains whenever there is something. Never ends.
    pub(crate) async fn pump(&self) {
        while let Ok(mut ready) = self.kernel.readable().await {
            self.drain();
            ready.clear_ready();
        }
        std::future::pending().await
    }

    /// Waits for a change after the one with this number.
    pub(crate) async fn after(&self, seen: u64) {
        let mut last = self.last.subscribe();
        // The sender is ours, so it is never gone.
        let _ = last.wait_for(|last| *last > seen).await;
    }

    /// Waits until a burst of changes is over.
    pub(crate) async fn settle(&self) {
        let latest = Instant::now() + Duration::from_millis(SETTLE_MAX_MS);
        loop {
            let seen = self.drain();
            let quiet = Instant::now() + Duration::from_millis(QUIET_MS);
            let next = tokio::time::timeout_at(quiet.min(latest), self.after(seen));
            if next.await.is_err() {
                return;
            }
        }
    }
}

impl Known {
    /// Whether a note is of something that matters.
    fn counts(&mut self, id: i32, what: ReadFlags, name: Option<&OsStr>) -> bool {
        if what.contains(ReadFlags::QUEUE_OVERFLOW) {
            return true;
        }
        if what.contains(ReadFlags::IGNORED) {
            self.folders.remove(&id);
            return false;
        }
        let (Some(watched), Some(name)) = (self.folders.get(&id), name) else {
            return false;
        };
        if let Some(only) = &watched.only {
            return only.contains(name);
        }
        let path = watched.path.join(name);
        let is_folder = what.contains(ReadFlags::ISDIR);
        let rules = self.rules.as_ref();
        !rules.is_some_and(|rules| rules.ignores(&path, is_folder))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use super::*;

    fn watching(folder: &Path) -> Watcher {
        let watcher = Watcher::new().unwrap();
        watcher.obey(&Rules::of(folder, None));
        watcher.add(folder, None).unwrap();
        watcher
    }

    #[tokio::test]
    async fn what_was_saved_before_is_known_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let watcher = watching(folder.path());
        assert_eq!(watcher.drain(), 0);
        let mut seen = 0;
        let mut noticed = |what: &str| {
            let now = watcher.drain();
            assert_eq!(now, seen + 1, "{what}");
            seen = now;
        };
        fs::write(at("a"), "1").unwrap();
        noticed("written");
        fs::rename(at("a"), at("b")).unwrap();
        noticed("renamed, as editors do it");
        fs::remove_file(at("b")).unwrap();
        noticed("removed");
        fs::create_dir(at("c")).unwrap();
        noticed("a folder");
        fs::write(at("a.swp"), "").unwrap();
        fs::create_dir(at("node_modules")).unwrap();
        assert_eq!(watcher.drain(), seen, "noise");
        tokio::time::timeout(Duration::from_secs(60), watcher.settle())
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_root_that_goes_and_comes_again_is_noticed() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("f");
        fs::create_dir(&folder).unwrap();
        let watcher = watching(&folder);
        fs::rename(&folder, around.path().join("g")).unwrap();
        assert_eq!(watcher.drain(), 1);
        fs::rename(around.path().join("g"), &folder).unwrap();
        assert_eq!(watcher.drain(), 2);
        fs::create_dir(around.path().join("stranger")).unwrap();
        assert_eq!(watcher.drain(), 2);
    }

    #[tokio::test]
    async fn whoever_waits_is_woken_by_the_pump() {
        let folder = tempfile::tempdir().unwrap();
        let watcher = watching(folder.path());
        let changed = async {
            fs::write(folder.path().join("a"), "").unwrap();
            watcher.after(0).await;
        };
        tokio::select! {
            () = watcher.pump() => unreachable!("it never ends"),
            () = changed => {}
        }
    }
}

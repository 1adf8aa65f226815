//! The folders that a program may write to: empty or small at its snapshot, and so again after each
//! run.
//!
//! ```text
//! nothing was there, and the folder says that nothing came ──────────► nothing to do
//!    └─else─► read the tree ─► remove, make, write, describe
//!                                  └─► as much in use as then? ─no→ replaced
//! ```
//!
//! What has no name any more but is held by a descriptor or a mapping shows in how much is in use,
//! when those have been put back too. Deliberately absent: how a tree is put back (`tree`).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Stat, fstat, fstatfs};
use rustix::time::{ClockId, clock_gettime};

use super::errors::{About as _, Difference, Leftover, TakeError, same};
use super::tree::{self, Tree};

/// A clock of files may stand still for as long: what changed within it need not show.
const TICK_MS: i64 = 20;

/// Pages and files in use in a folder of its own in memory where nothing is, with a name or
/// without: the folder alone. So nothing can be set free there when descriptors and mappings are
/// put back.
const BARE: (u64, u64) = (0, 1);

/// A folder that the program may write to.
#[derive(Debug)]
pub(crate) struct Writable {
    /// Its path in the sandbox.
    pub(crate) place: &'static str,
    /// The folder, opened for reading.
    pub(crate) folder: OwnedFd,
}

/// What a folder held at the snapshot.
#[derive(Debug)]
pub(super) struct Scratch {
    place: &'static str,
    folder: OwnedFd,
    device: u64,
    tree: Tree,
    used: (u64, u64),
    /// Nothing was done to it, as there was nothing in it, and there still is not.
    untouched: bool,
    /// How the folder itself was described when it was last seen to be as at the snapshot.
    seen: Seen,
}

/// What shows that something was made, removed or described in a folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Seen {
    described: (i64, i64),
    /// It was described so lately that a later change might not show.
    lately: bool,
}

impl Scratch {
    pub(super) fn take(writable: Writable) -> Result<Self, TakeError> {
        let Writable { place, folder } = writable;
        let tree = match tree::read(&folder, |_| true) {
            Err(error) if is_too_much(&error) => {
                let what = format!("has more in {place} than is kept for each renewal");
                return Err(TakeError::State(what));
            }
            other => other.taking("the files in scratch")?,
        };
        let about = fstat(&folder).taking("a folder for scratch")?;
        Ok(Self {
            used: used(&folder).taking("a folder for scratch")?,
            seen: Seen::of(&about).taking("the time")?,
            device: about.st_dev,
            untouched: false,
            place,
            folder,
            tree,
        })
    }

    /// Whether nothing was in it.
    pub(super) fn is_empty(&self) -> bool {
        self.tree.len() == 1
    }

    /// The device that it is.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// Puts all back that has a name.
    pub(super) fn plan(&mut self) -> Result<(), Leftover> {
        let place = self.place;
        let what = "a folder for scratch";
        let about = fstat(&self.folder).putting(what)?;
        let nothing = self.tree.len() == 1 && !self.seen.lately && self.seen.shows(&about);
        self.untouched = false;
        if nothing && used(&self.folder).putting(what)? == self.used {
            self.untouched = self.used == BARE;
            return Ok(());
        }
        let now = match tree::read(&self.folder, |path| self.tree.contains_key(path)) {
            Err(error) if is_too_much(&error) => {
                let what = "holds more than can be looked through".to_owned();
                return Err(Leftover::Scratch { place, what });
            }
            other => other.putting(what)?,
        };
        for (path, step) in tree::steps(&self.tree, &now) {
            tree::act(&self.folder, &mut self.tree, &path, step).map_err(|error| {
                let path = path.display();
                let what = format!("holds `{path}`, which does not go back: {error}");
                Leftover::Scratch { place, what }
            })?;
        }
        Ok(())
    }

    /// Looks whether all that had no name has gone too.
    pub(super) fn done(&mut self) -> Result<(), Leftover> {
        if self.untouched {
            return Ok(());
        }
        let place = self.place;
        let what = "a folder for scratch";
        let now = used(&self.folder).putting(what)?;
        if now != self.used {
            let what = format!("has {now:?} pages and files in use and not {:?}", self.used);
            return Err(Leftover::Scratch { place, what });
        }
        let about = fstat(&self.folder).putting(what)?;
        self.seen = Seen::of(&about).putting("the time")?;
        Ok(())
    }

    pub(super) fn compare(&self) -> Result<(), Difference> {
        let piece = self.place;
        same(piece, &self.used, &used(&self.folder).comparing(piece)?)?;
        let now = tree::read(&self.folder, |_| true).comparing(piece)?;
        same(piece, &self.tree, &now)
    }
}

impl Seen {
    fn of(about: &Stat) -> io::Result<Self> {
        let now = clock_gettime(ClockId::Realtime);
        let described = described(about)?;
        let since_ms = (now.tv_sec - described.0) * 1_000 + (now.tv_nsec - described.1) / 1_000_000;
        Ok(Self {
            described,
            lately: since_ms < TICK_MS,
        })
    }

    fn shows(&self, about: &Stat) -> bool {
        described(about).is_ok_and(|described| described == self.described)
    }
}

fn described(about: &Stat) -> io::Result<(i64, i64)> {
    let nanoseconds = i64::try_from(about.st_ctime_nsec).map_err(io::Error::other)?;
    Ok((about.st_ctime, nanoseconds))
}

/// Pages and files in use.
fn used(folder: &OwnedFd) -> io::Result<(u64, u64)> {
    let about = fstatfs(folder)?;
    let pages = about.f_blocks.saturating_sub(about.f_bfree);
    Ok((pages, about.f_files.saturating_sub(about.f_ffree)))
}

fn is_too_much(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    code == Some(libc::E2BIG) || code == Some(libc::EFBIG)
}

//! Locks that a run has taken on the files behind the snapshot's descriptors.
//!
//! ```text
//! one question for each file: has anybody a lock on a range of it? ─no→ nothing to take off
//!        └─yes→ those of our duplicate, and by a call of the program those of the process
//! a lock on the whole of it (`flock`): belongs to the description alone, and is taken off unasked
//! ```
//!
//! The question is asked for this process, which has no locks, about all of the file and for
//! writing, so that any lock of a range stands in its way: one of the program's process, or one of
//! any description, ours shared with it included. A file of which somebody had such a lock at the
//! snapshot, or of which the kernel does not tell, is not asked about. Deliberately absent: locks
//! that the program held at its snapshot, which must stay (`kinds`).

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{FlockOperation, flock, fstat};

use crate::renewal::stopped::{Batch, Call, Expect};
use crate::sys::handles;

use super::descriptors::Descriptor;
use super::errors::{About as _, Leftover};

/// Which files there are behind the descriptors.
#[derive(Debug)]
pub(super) struct Locks {
    files: Vec<File>,
    /// In the order of the descriptors; none for one that no lock can be taken through, or through
    /// which one was held.
    behind: Vec<Option<usize>>,
}

#[derive(Debug)]
struct File {
    device: u64,
    inode: u64,
    /// Nobody had a lock on a range of it.
    free: bool,
}

impl Locks {
    pub(super) fn take(known: &[Descriptor]) -> io::Result<Self> {
        let mut files: Vec<File> = Vec::new();
        let mut behind = Vec::new();
        for one in known {
            if one.is_path() || !one.kind.is_unlocked() {
                behind.push(None);
                continue;
            }
            let about = fstat(&one.file)?;
            let (device, inode) = (about.st_dev, about.st_ino);
            let same = |file: &File| (file.device, file.inode) == (device, inode);
            behind.push(Some(files.iter().position(same).unwrap_or(files.len())));
            if !files.iter().any(same) {
                let free = is_free(&one.file);
                files.push(File {
                    device,
                    inode,
                    free,
                });
            }
        }
        Ok(Self { files, behind })
    }

    /// Takes locks off from outside, and appends to `batch` what only the program can do. The
    /// descriptors must be those of the snapshot.
    pub(super) fn plan(&self, known: &[Descriptor], batch: &mut Batch) -> Result<(), Leftover> {
        let mut asked: Vec<Option<bool>> = vec![None; self.files.len()];
        let mut everything = None;
        for (one, behind) in known.iter().zip(&self.behind) {
            let Some(behind) = *behind else {
                continue;
            };
            let what = "the locks on a descriptor";
            let unlocked = flock(&one.file, FlockOperation::Unlock);
            unlocked.putting(what)?;
            let was_free = self.files.get(behind).is_some_and(|file| file.free);
            let is_free = match asked.get_mut(behind) {
                Some(asked) => *asked.get_or_insert_with(|| was_free && is_free(&one.file)),
                None => false,
            };
            if is_free {
                continue;
            }
            handles::unlock(&one.file).putting(what)?;
            let place = match everything {
                Some(place) => place,
                None => *everything.insert(batch.bytes(&handles::unlocked())?),
            };
            let set = [one.number.into(), libc::F_SETLK.into(), place.into()];
            batch.call(Call::new(libc::SYS_fcntl, set), Expect::Value(0));
        }
        Ok(())
    }
}

/// Whether nobody has a lock on a range of it.
fn is_free(file: &OwnedFd) -> bool {
    handles::is_locked(file).is_ok_and(|locked| !locked)
}

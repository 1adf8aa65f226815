//! How much more memory a program's control group would give it.
//!
//! Deliberately absent: groups.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of a number as the kernel writes it.
const NUMBER_MAX_BYTES: usize = 32;

/// The group's account, open for as long as this lives.
#[derive(Debug)]
pub(crate) struct Room {
    used: File,
    max_bytes: u64,
}

impl Room {
    /// Of a group that says in these files how many bytes it has taken, and may take.
    pub(crate) fn open(used: &Path, max: &Path) -> io::Result<Self> {
        let max = fs::read_to_string(max)?;
        Ok(Self {
            used: File::open(used)?,
            // "max", where there is no bound.
            max_bytes: max.trim().parse().unwrap_or(u64::MAX),
        })
    }

    /// Bytes that are left.
    pub(super) fn left_bytes(&self) -> io::Result<u64> {
        let mut bytes = [0; NUMBER_MAX_BYTES];
        let len = self.used.read_at(&mut bytes, 0)?;
        let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());
        let used: u64 = text.trim().parse().map_err(io::Error::other)?;
        Ok(self.max_bytes.saturating_sub(used))
    }
}

//! The files of one log: `NAME.jsonl` is the current one, `NAME.1.jsonl` the one before it, and so
//! on. Lines are whole: what was torn by a crash is cut off, and what cannot be written whole is
//! taken back; both work on a full disk.
//!
//! Room is taken behind the end of the current file, by allocating blocks there without making the
//! file longer. A file system that cannot do so takes none, and a full disk is then found out when
//! the line is written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::LINE_MAX_BYTES;

/// See the module.
pub(super) struct Files {
    folder: PathBuf,
    name: &'static str,
    file_max_bytes: u64,
    files_max: u32,
    file: File,
    bytes: u64,
    /// Behind the end of the file, in bytes.
    taken_bytes: u64,
}

impl Files {
    /// Opens the current file of `name`.
    pub(super) fn open(
        folder: &Path,
        name: &'static str,
        file_max_bytes: u64,
        files_max: u32,
    ) -> io::Result<Self> {
        let (file, bytes) = current(&path(folder, name, 0))?;
        Ok(Self {
            folder: folder.to_owned(),
            name,
            file_max_bytes,
            files_max,
            file,
            bytes,
            taken_bytes: 0,
        })
    }

    /// Takes room for so many bytes, beside what is taken already.
    pub(super) fn take(&mut self, bytes: u64) -> io::Result<()> {
        let taken_bytes = self.taken_bytes + bytes;
        self.rotate_for(taken_bytes)?;
        match fallocate(
            &self.file,
            FallocateFlags::KEEP_SIZE,
            self.bytes,
            taken_bytes,
        ) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        self.taken_bytes = taken_bytes;
        Ok(())
    }

    /// Gives room back; its blocks serve the next one who takes some.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.taken_bytes = self.taken_bytes.saturating_sub(bytes);
    }

    /// Appends a whole line, or nothing. A line whose room was taken goes where that room is.
    pub(super) fn append(&mut self, line: &[u8], has_room: bool) -> io::Result<()> {
        if !has_room {
            self.rotate_for(self.taken_bytes + line.len() as u64)?;
        }
        match self.file.write_all(line) {
            Ok(()) => {
                self.bytes += line.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a line would be taken for the beginning of the next one.
                self.file.set_len(self.bytes)?;
                Err(error)
            }
        }
    }

    /// Returns when all that was appended is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// All files as they stand, oldest first, each with its length.
    pub(super) fn opened(&self) -> io::Result<Vec<(File, u64)>> {
        let mut opened = Vec::new();
        for age in (0..self.files_max.max(1)).rev() {
            match File::open(path(&self.folder, self.name, age)) {
                Ok(file) => {
                    let bytes = file.metadata()?.len();
                    opened.push((file, bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(opened)
    }

    /// Begins a new file where so much does not fit any more.
    fn rotate_for(&mut self, bytes: u64) -> io::Result<()> {
        if self.bytes == 0 || self.bytes + bytes <= self.file_max_bytes {
            return Ok(());
        }
        self.file.sync_data()?;
        // Gives back the blocks behind its end.
        self.file.set_len(self.bytes)?;
        let aged = |age| path(&self.folder, self.name, age);
        match self.files_max {
            0 | 1 => fs::remove_file(aged(0))?,
            files_max => {
                for age in (0..files_max - 1).rev() {
                    match fs::rename(aged(age), aged(age + 1)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        Ok(()) | Err(_) => {}
                    }
                }
            }
        }
        (self.file, self.bytes) = current(&aged(0))?;
        // The new name must be as lasting as what is written into the file.
        File::open(&self.folder)?.sync_all()
    }
}

fn path(folder: &Path, name: &str, age: u32) -> PathBuf {
    folder.join(match age {
        0 => format!("{name}.jsonl"),
        age => format!("{name}.{age}.jsonl"),
    })
}

/// The file, made for its owner only, ready for the next line.
fn current(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(path)?;
    let bytes = file.metadata()?.len();
    let from = bytes.saturating_sub(LINE_MAX_BYTES);
    let mut last = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.read_to_end(&mut last)?;
    let whole = last.iter().rposition(|byte| *byte == b'\n');
    let whole = whole.map_or(from, |at| from + at as u64 + 1);
    if whole < bytes {
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

//! The files of one function's log: `OWNER/NAME.jsonl` is the current one, `OWNER/NAME.1.jsonl` the
//! one before it, and so on. Names have no dots, so that no function's file is another's earlier
//! one.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use usher_api::node::LogLine;
use usher_core::id::FunctionKey;

pub(super) struct LogFile {
    folder: PathBuf,
    name: String,
}

impl LogFile {
    pub(super) fn of(folder: &Path, key: &FunctionKey) -> Self {
        Self {
            folder: folder.join(key.owner.as_str()),
            name: key.name.as_str().to_owned(),
        }
    }

    fn path(&self, age: u32) -> PathBuf {
        let name = &self.name;
        self.folder.join(match age {
            0 => format!("{name}.jsonl"),
            age => format!("{name}.{age}.jsonl"),
        })
    }

    /// Appends whole lines. Where they do not fit into the current file, a new one is begun first,
    /// and the oldest one removed.
    pub(super) fn append(&self, text: &[u8], max_bytes: u64, files_max: u32) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let open = || {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(self.path(0))
        };
        let mut file = open()?;
        let bytes = file.metadata()?.len();
        if bytes > 0 && bytes + text.len() as u64 > max_bytes {
            drop(file);
            self.rotate(files_max)?;
            file = open()?;
        }
        let bytes = file.metadata()?.len();
        file.write_all(text).inspect_err(|_| {
            // What a full disk took of it would spoil the next line; that it cannot be taken back
            // either is no other failure.
            let _spoilt = file.set_len(bytes);
        })
    }

    fn rotate(&self, files_max: u32) -> io::Result<()> {
        if files_max <= 1 {
            return fs::remove_file(self.path(0));
        }
        for age in (0..files_max - 1).rev() {
            match fs::rename(self.path(age), self.path(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The last lines of the current file, in at most so many bytes. Lines that cannot be read, such as
/// one that was cut short by a crash, are left out.
pub(super) fn last_lines(file: &LogFile, max_bytes: usize) -> io::Result<Vec<LogLine>> {
    let mut file = match fs::File::open(file.path(0)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let bytes = file.metadata()?.len();
    file.seek(SeekFrom::Start(bytes.saturating_sub(max_bytes as u64)))?;
    let mut text = Vec::new();
    file.take(max_bytes as u64).read_to_end(&mut text)?;
    let lines = text.split(|byte| *byte == b'\n');
    Ok(lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

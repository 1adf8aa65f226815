//! The platform's own log: in which form, and where to.
//!
//! ```text
//! FILE ─full→ FILE.1 ─► FILE.2 ─► … ─► gone
//! ```
//!
//! A line is written whole or not at all. What a full disk does not take is counted, and told as
//! soon as there is room again; the platform goes on meanwhile.
//!
//! Deliberately absent: the logs of functions, which the node keeps.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::cli::{LogFormat, OwnLog};

/// From now on what the platform has to say goes there.
///
/// # Errors
/// If the filter cannot be read, or the file not be opened.
pub(crate) fn begin(filter: &str, log: &OwnLog) -> anyhow::Result<()> {
    let read = EnvFilter::try_new(filter);
    let filter =
        read.with_context(|| format!("--log {filter:?} cannot be read; write one such as info"))?;
    let (writer, colours) = match &log.log_file {
        None => (BoxMakeWriter::new(io::stderr), io::stderr().is_terminal()),
        Some(path) => {
            let file = Rotated::open(path, log);
            let file = file.with_context(|| {
                let path = path.display();
                format!("the log file {path} was not opened; --log-file FILE names another")
            })?;
            (BoxMakeWriter::new(file), false)
        }
    };
    let told = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colours);
    match log.log_format {
        LogFormat::Text => told.init(),
        LogFormat::Json => told.json().flatten_event(true).init(),
    }
    Ok(())
}

/// A file, and those before it.
struct Rotated {
    path: PathBuf,
    max_bytes: u64,
    files_max: u32,
    format: LogFormat,
    state: Mutex<State>,
}

struct State {
    /// None: it could not be opened again.
    file: Option<File>,
    bytes: u64,
    /// Lines that could not be written, and that is not told yet.
    lost: u64,
}

/// Writes one line.
struct Line<'r>(&'r Rotated);

impl Rotated {
    fn open(path: &Path, log: &OwnLog) -> io::Result<Self> {
        let (file, bytes) = opened(path)?;
        Ok(Self {
            path: path.to_owned(),
            max_bytes: log.log_file_max_bytes,
            files_max: log.log_files_max,
            format: log.log_format,
            state: Mutex::new(State {
                file: Some(file),
                bytes,
                lost: 0,
            }),
        })
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.state.lock();
        let lost = state.lost;
        let told = if lost > 0 {
            self.told(lost)
        } else {
            Vec::new()
        };
        let whole = [&told, line].concat();
        match self.write(&mut state, &whole) {
            Ok(()) => state.lost = 0,
            Err(_) => state.lost += 1,
        }
    }

    fn write(&self, state: &mut State, text: &[u8]) -> io::Result<()> {
        let bytes = text.len() as u64;
        if state.file.is_none() || (state.bytes > 0 && state.bytes + bytes > self.max_bytes) {
            state.file = None;
            self.rotate()?;
            let (file, bytes) = opened(&self.path)?;
            (state.file, state.bytes) = (Some(file), bytes);
        }
        let Some(file) = &mut state.file else {
            return Ok(());
        };
        file.write_all(text).inspect_err(|_| {
            // What was taken of it would spoil the next line; that it cannot be taken back either
            // is no other failure.
            let _spoilt = file.set_len(state.bytes);
        })?;
        state.bytes += bytes;
        Ok(())
    }

    /// Makes each file the one before, if the current one is full.
    fn rotate(&self) -> io::Result<()> {
        let full = fs::metadata(&self.path).is_ok_and(|file| file.len() > 0);
        if !full {
            return Ok(());
        }
        if self.files_max <= 1 {
            return fs::remove_file(&self.path);
        }
        for age in (0..self.files_max - 1).rev() {
            match fs::rename(self.of_age(age), self.of_age(age + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn of_age(&self, age: u32) -> PathBuf {
        if age == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{age}"));
        name.into()
    }

    /// The line about lines that were lost.
    fn told(&self, lost: u64) -> Vec<u8> {
        let message = format!("{lost} lines before this one could not be written");
        let line = match self.format {
            LogFormat::Text => format!("WARN usher: {message}\n"),
            LogFormat::Json => {
                let line = serde_json::json!({ "level": "WARN", "message": message });
                format!("{line}\n")
            }
        };
        line.into_bytes()
    }
}

fn opened(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

impl<'r> MakeWriter<'r> for Rotated {
    type Writer = Line<'r>;

    fn make_writer(&'r self) -> Line<'r> {
        Line(self)
    }
}

impl Write for Line<'_> {
    /// Takes a whole line each time, which is how lines come; it never fails.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn log(folder: &Path, max_bytes: u64, files_max: u32, format: LogFormat) -> Rotated {
        let path = folder.join("own.log");
        let log = OwnLog {
            log_format: format,
            log_file: Some(path.clone()),
            log_file_max_bytes: max_bytes,
            log_files_max: files_max,
        };
        Rotated::open(&path, &log).unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_bounded_in_size_and_number() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path(), 20, 3, LogFormat::Text);
        for nth in 10..30 {
            log.put(format!("line {nth}\n").as_bytes());
        }
        assert_eq!(names(folder.path()), ["own.log", "own.log.1", "own.log.2"]);
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("own.log"), "line 28\nline 29\n");
        assert_eq!(read("own.log.2"), "line 24\nline 25\n");
    }

    #[test]
    fn an_earlier_file_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        log(folder.path(), 100, 2, LogFormat::Text).put(b"one\n");
        log(folder.path(), 100, 2, LogFormat::Text).put(b"two\n");
        let text = fs::read_to_string(folder.path().join("own.log")).unwrap();
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let within = folder.path().join("within");
        fs::create_dir(&within).unwrap();
        let log = log(&within, 5, 2, LogFormat::Json);
        log.put(b"{}\n");
        // A folder that is gone takes nothing, as a full disk does.
        fs::remove_dir_all(&within).unwrap();
        log.put(b"{\"nth\":1}\n");
        log.put(b"{\"nth\":2}\n");
        fs::create_dir(&within).unwrap();
        log.put(b"{\"nth\":3}\n");
        let text = fs::read_to_string(within.join("own.log")).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let told = lines[0]["message"].as_str().unwrap();
        assert!(told.starts_with("2 lines"), "{told}");
        assert_eq!(lines[1]["nth"], 3);
    }
}

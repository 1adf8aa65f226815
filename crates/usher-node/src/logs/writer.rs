//! The one thread that makes text of lines, and brings them to files, tails and followers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest as _, Sha256};
use usher_api::node::{LogEvent, LogLine};
use usher_core::id::{Digest, RevisionId};
use usher_core::key::Key;

use super::file::{self, LogFile};
use super::queue::{Batch, Flush};
use super::room::Room;
use super::{Entry, Event, FunctionLog, Served, Shared, now_us, text};

/// Text of one function that is gathered before it is written, in bytes.
const WRITE_MAX_BYTES: usize = 256 << 10;

pub(super) fn start(shared: Arc<Shared>) -> io::Result<()> {
    std::thread::Builder::new()
        .name("usher-logs".to_owned())
        .spawn(move || {
            let mut disk = Disk::of(&shared);
            let mut spare = Vec::new();
            while let Some(batch) = shared.queue.take(spare) {
                spare = write(&shared, &mut disk, batch);
            }
        })
        .map(drop)
}

/// What the thread knows of the disk.
struct Disk {
    /// None: nothing is written.
    room: Option<Room>,
    /// Whether the last write failed, so that only the first one of many is told.
    failing: bool,
}

impl Disk {
    fn of(shared: &Shared) -> Self {
        let options = &shared.options;
        let room = options.folder.as_deref();
        let room = room.map(|folder| Room::open(folder, options.total_max_bytes));
        let bytes = room.as_ref().map_or(0, Room::bytes);
        shared.file_bytes.store(bytes, Ordering::Relaxed);
        Self {
            room,
            failing: false,
        }
    }

    fn grown(&mut self, shared: &Shared, bytes: u64) {
        let Some(room) = &mut self.room else { return };
        let removed = room.grown(bytes);
        shared.file_bytes.store(room.bytes(), Ordering::Relaxed);
        if removed.files > 0 {
            let total = &shared.removed_bytes;
            total.fetch_add(removed.bytes, Ordering::Relaxed);
            tracing::warn!(
                files = removed.files,
                bytes = removed.bytes,
                total_max_bytes = shared.options.total_max_bytes,
                "the logs of all functions had become too large; the oldest were removed"
            );
        }
    }
}

/// Writes a batch; answers the emptied vector, to be filled again.
fn write(shared: &Shared, disk: &mut Disk, batch: Batch) -> Vec<Entry> {
    let Batch {
        mut entries,
        flushes,
    } = batch;
    // By address, because hashing a name for each line costs more than the line.
    let mut texts: HashMap<*const FunctionLog, (Arc<FunctionLog>, Vec<u8>)> = HashMap::new();
    for entry in entries.drain(..) {
        let (log, text) = texts
            .entry(Arc::as_ptr(&entry.log))
            .or_insert_with(|| (entry.log.clone(), Vec::new()));
        let dropped = log.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let time_us = now_us();
            let event = LogEvent::Platform {
                text: format!(
                    "{dropped} lines were dropped because the log could not keep up with them"
                ),
            };
            let (revision, request) = (entry.revision, None);
            let line = LogLine {
                time_us,
                request,
                revision,
                event,
            };
            take_in(shared, log, text, line);
        }
        take_in(shared, log, text, line_of(entry));
        if text.len() >= WRITE_MAX_BYTES {
            append(shared, disk, log, text);
        }
    }
    for (log, text) in texts.values_mut() {
        append(shared, disk, log, text);
    }
    for Flush { log, tell } in flushes {
        if let Some(log) = log {
            read_tail(shared, &log);
        }
        // Who waited may have gone away.
        let _ = tell.send(());
    }
    entries
}

fn take_in(shared: &Shared, log: &FunctionLog, text: &mut Vec<u8>, line: LogLine) {
    read_tail(shared, log);
    if shared.options.folder.is_some() {
        text::push(text, &line);
    }
    shared.everyone.told(&log.key, &log.tail, line);
}

fn append(shared: &Shared, disk: &mut Disk, log: &FunctionLog, text: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    if let Some(folder) = &shared.options.folder {
        let file = LogFile::of(folder, &log.key);
        let options = &shared.options;
        let lines = text.iter().filter(|byte| **byte == b'\n').count() as u64;
        let before = log.lost.swap(0, Ordering::Relaxed);
        if before > 0 {
            let mut told = Vec::new();
            text::push(&mut told, &lost(before));
            text.splice(0..0, told);
        }
        match file.append(text, options.file_max_bytes, options.files_max) {
            Ok(()) => {
                disk.failing = false;
                disk.grown(shared, text.len() as u64);
            }
            Err(error) => {
                shared.lost.fetch_add(lines, Ordering::Relaxed);
                log.lost.fetch_add(before + lines, Ordering::Relaxed);
                if !std::mem::replace(&mut disk.failing, true) {
                    let function = &log.key;
                    let said = "log lines cannot be written to their file; is the disk full?";
                    tracing::warn!(%function, %error, "{said}");
                }
            }
        }
    }
    text.clear();
}

/// The line that tells of lines which the disk did not take.
fn lost(lines: u64) -> LogLine {
    LogLine {
        time_us: now_us(),
        request: None,
        revision: RevisionId(Digest([0; 32])),
        event: LogEvent::Platform {
            text: format!("{lines} lines before this one could not be written to the disk"),
        },
    }
}

/// Reads what earlier lives of the process have written, once and before anything new.
fn read_tail(shared: &Shared, log: &FunctionLog) {
    let mut tail = log.tail.lock();
    if tail.read {
        return;
    }
    tail.read = true;
    let Some(folder) = &shared.options.folder else {
        return;
    };
    match file::last_lines(
        &LogFile::of(folder, &log.key),
        shared.options.tail_max_bytes,
    ) {
        Ok(lines) => lines.into_iter().for_each(|line| tail.push(line)),
        Err(error) => {
            tracing::warn!(function = %log.key, %error, "earlier log lines could not be read");
        }
    }
}

/// What stands for a key in a log: the same for the same key, and not the key itself, which may be
/// a secret.
fn mark(key: &Key) -> String {
    Digest(Sha256::digest(key.bytes()).into()).short()
}

fn line_of(entry: Entry) -> LogLine {
    let event = match entry.event {
        Event::Stdout(text) => LogEvent::Stdout { text },
        Event::Stderr(text) => LogEvent::Stderr { text },
        Event::Platform(text) => LogEvent::Platform { text },
        Event::Request(served) => {
            let Served {
                method,
                path,
                status,
                took_us,
                key,
                proof,
                error,
            } = *served;
            let path = path.as_deref().unwrap_or("/");
            LogEvent::Request {
                target: format!("{method} {path}"),
                status,
                took_us,
                key: key.map(|key| mark(&key)),
                proof,
                error,
            }
        }
    };
    LogLine {
        time_us: entry.time_us,
        request: entry.request,
        revision: entry.revision,
        event,
    }
}

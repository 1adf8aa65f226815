//! The logs of functions: what guests write, how each request was served, what the platform has to
//! say.
//!
//! ```text
//! request path ─push→ queue ─► writer thread ─┬→ OWNER/NAME.jsonl, rotated
//!                  (bounded)                  ├→ tail in memory
//!                                             └→ whoever follows
//! ```
//!
//! Requests are never held up: they push a small struct, and the one writer makes text of it. What
//! does not fit into the queue is dropped, newest first, counted, and reported as a line of the log
//! it is missing from; so is what the disk does not take.
//!
//! Deliberately absent: the platform's own log, which is `tracing`.

mod everyone;
mod file;
mod output;
mod queue;
mod room;
mod tail;
mod text;
mod writer;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{self, BoxStream, StreamExt};
use http::Method;
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};
use usher_api::node::{FunctionLogLine, LogEvent, LogLine, LogQuery};
use usher_core::id::{FunctionKey, Name, RequestId, RevisionId};
use usher_core::key::Key;
use usher_core::proof::Proof;

pub use everyone::LINES_MAX;
pub(crate) use output::RequestOutput;

use everyone::Everyone;
use queue::Queue;
use tail::Tail;

/// Functions whose latest lines are kept in memory although nothing of them is loaded.
const FUNCTIONS_KEPT_MAX: usize = 1_000;

/// Bounds of the logs, and where they go.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The folder; none: memory only.
    pub folder: Option<PathBuf>,
    /// One file of one function, in bytes.
    pub file_max_bytes: u64,
    /// Files of one function, the current one included; at least 1.
    pub files_max: u32,
    /// The files of all functions together, in bytes; beyond it those go that were written longest
    /// ago.
    pub total_max_bytes: u64,
    /// Lines that wait for the writer.
    pub queue_max_lines: usize,
    /// The texts of lines that wait for the writer, in bytes.
    pub queue_max_bytes: usize,
    /// Latest lines of one function that are kept in memory.
    pub tail_max_lines: usize,
    /// The same in bytes of text.
    pub tail_max_bytes: usize,
    /// Lines that somebody who follows may be behind before some are skipped.
    pub follow_max_lines: usize,
    /// One line of a guest, in bytes; longer ones are split.
    pub line_max_bytes: usize,
    /// All that one request's guest writes, in bytes; the rest is dropped, and that is said.
    pub request_max_bytes: usize,
    /// Whether each request gets a line that says how it was served. Failed ones always do.
    pub request_lines: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            folder: None,
            file_max_bytes: 8 << 20,
            files_max: 3,
            total_max_bytes: 4 << 30,
            queue_max_lines: 65_536,
            queue_max_bytes: 16 << 20,
            tail_max_lines: 1_000,
            tail_max_bytes: 128 << 10,
            follow_max_lines: 1_024,
            line_max_bytes: 8 << 10,
            request_max_bytes: 1 << 20,
            request_lines: true,
        }
    }
}

/// The logs of all functions on a node. Dropping it writes what is queued and ends the writer.
pub struct Logs {
    shared: Arc<Shared>,
    functions: Mutex<HashMap<FunctionKey, Arc<FunctionLog>>>,
}

/// What the request path and the writer share.
struct Shared {
    options: LogOptions,
    queue: Queue,
    everyone: Everyone,
    dropped: AtomicU64,
    /// Lines that could not be written.
    lost: AtomicU64,
    /// What the files take, and what was removed of them.
    file_bytes: AtomicU64,
    removed_bytes: AtomicU64,
}

/// The log of one function.
pub struct FunctionLog {
    key: FunctionKey,
    shared: Arc<Shared>,
    tail: Mutex<Tail>,
    /// Lines dropped and not yet reported.
    dropped: AtomicU64,
    /// Lines that could not be written, and that is not yet reported.
    lost: AtomicU64,
}

/// A line on its way to the writer.
struct Entry {
    log: Arc<FunctionLog>,
    time_us: u64,
    request: Option<RequestId>,
    revision: RevisionId,
    event: Event,
}

enum Event {
    Stdout(String),
    Stderr(String),
    Platform(String),
    Request(Box<Served>),
}

/// How a request was served or failed.
pub(crate) struct Served {
    pub(crate) method: Method,
    /// Without the query, which is where callers put what should not stand in logs.
    pub(crate) path: Option<Box<str>>,
    pub(crate) status: u16,
    pub(crate) took_us: u64,
    pub(crate) key: Option<Key>,
    pub(crate) proof: Option<Proof>,
    pub(crate) error: Option<String>,
}

impl Logs {
    /// Logs with a writer of their own.
    ///
    /// # Errors
    /// If the folder cannot be made or the writer's thread not be started.
    pub fn open(options: LogOptions) -> std::io::Result<Self> {
        if let Some(folder) = &options.folder {
            std::fs::create_dir_all(folder)?;
        }
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_max_lines, options.queue_max_bytes),
            everyone: Everyone::new(options.follow_max_lines),
            options,
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            removed_bytes: AtomicU64::new(0),
        });
        writer::start(shared.clone())?;
        Ok(Self {
            shared,
            functions: Mutex::default(),
        })
    }

    /// The log of a function.
    pub fn function(&self, key: &FunctionKey) -> Arc<FunctionLog> {
        let mut functions = self.functions.lock();
        if let Some(log) = functions.get(key) {
            return log.clone();
        }
        if functions.len() >= FUNCTIONS_KEPT_MAX {
            functions.retain(|_, log| Arc::strong_count(log) > 1);
        }
        let log = Arc::new(FunctionLog {
            key: key.clone(),
            shared: self.shared.clone(),
            tail: Mutex::new(Tail::new(&self.shared.options)),
            dropped: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        });
        functions.insert(key.clone(), log.clone());
        log
    }

    /// The lines that a query asks for, oldest first, those that were pushed before it included.
    /// Goes back no further than what is kept in memory.
    pub fn query(&self, key: &FunctionKey, query: LogQuery) -> BoxStream<'static, LogLine> {
        let log = self.function(key);
        let filter = query.clone();
        let lines = async move {
            let written = log.clone().written();
            // A writer that has ended has written all it had.
            let _ = written.await;
            let mut tail = log.tail.lock();
            let follow = query.follow.then(|| tail.follow());
            (tail.lines(query.request, query.tail), follow)
        };
        stream::once(lines)
            .flat_map(move |(mut lines, follow)| {
                lines.retain(|line| filter.wants(line));
                let filter = filter.clone();
                let follow = follow.map(|follow| following(follow, filter));
                stream::iter(lines).chain(stream::iter(follow).flatten())
            })
            .boxed()
    }

    /// The lines of all functions, or of those of one owner, oldest first. What was written before
    /// the query goes back no further than what is kept in memory, and to [`LINES_MAX`] lines;
    /// functions that come to be while it follows are among them.
    pub fn query_all(
        &self,
        owner: Option<Name>,
        query: LogQuery,
    ) -> BoxStream<'static, FunctionLogLine> {
        let logs = {
            let functions = self.functions.lock();
            functions.values().cloned().collect::<Vec<_>>()
        };
        everyone::query(self.shared.clone(), logs, owner, query)
    }

    /// Lines that could not be written so far, because the disk did not take them.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// What all files take, and what was removed because it was too much, in bytes.
    pub fn room(&self) -> (u64, u64) {
        let shared = &self.shared;
        let removed = shared.removed_bytes.load(Ordering::Relaxed);
        (shared.file_bytes.load(Ordering::Relaxed), removed)
    }

    /// Lines that were dropped so far because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Writes what is queued and ends the writer; ends the streams of those who follow.
    pub async fn stop(&self) {
        let (tell, ended) = oneshot::channel();
        self.shared.queue.stop(Some(tell));
        // The writer may have ended already.
        let _ = ended.await;
        for log in self.functions.lock().values() {
            log.tail.lock().unfollow();
        }
        self.shared.everyone.unfollow();
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        self.shared.queue.stop(None);
    }
}

fn following(
    lines: broadcast::Receiver<LogLine>,
    filter: LogQuery,
) -> impl stream::Stream<Item = LogLine> {
    stream::unfold((lines, filter), move |(mut lines, filter)| async move {
        loop {
            let line = match lines.recv().await {
                Ok(line) if filter.wants(&line) => line,
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Lagged(count)) => skipped(count),
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            return Some((line, (lines, filter)));
        }
    })
}

/// A line about lines that one reader missed.
fn skipped(count: u64) -> LogLine {
    LogLine {
        time_us: now_us(),
        request: None,
        revision: RevisionId(usher_core::id::Digest([0; 32])),
        event: LogEvent::Platform {
            text: format!(
                "{count} lines were skipped because they came faster than they were read"
            ),
        },
    }
}

impl FunctionLog {
    /// Whose log it is.
    pub fn key(&self) -> &FunctionKey {
        &self.key
    }

    /// Notes a sentence of the platform.
    pub(crate) fn platform(
        self: &Arc<Self>,
        revision: RevisionId,
        request: Option<RequestId>,
        text: String,
    ) {
        self.push(revision, request, Event::Platform(text));
    }

    /// Notes how a request went.
    pub(crate) fn served(
        self: &Arc<Self>,
        revision: RevisionId,
        request: RequestId,
        served: Served,
    ) {
        if served.error.is_some() || self.shared.options.request_lines {
            self.push(revision, Some(request), Event::Request(Box::new(served)));
        }
    }

    fn push(self: &Arc<Self>, revision: RevisionId, request: Option<RequestId>, event: Event) {
        let entry = Entry {
            log: self.clone(),
            time_us: now_us(),
            request,
            revision,
            event,
        };
        if !self.shared.queue.push(entry) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Resolves when all that was pushed before is in the tail, and the tail of earlier lives too.
    fn written(self: Arc<Self>) -> oneshot::Receiver<()> {
        let (tell, written) = oneshot::channel();
        let shared = self.shared.clone();
        shared.queue.flush(Some(self), tell);
        written
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

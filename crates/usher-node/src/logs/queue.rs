//! The bounded queue between requests and the writer.
//!
//! The writer is woken by the first line of a batch, and takes what has come a moment later, so
//! that a busy node does not wake it for every line.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{Entry, Event, FunctionLog};

/// How long a line may wait for company.
const GATHER_MAX: Duration = Duration::from_millis(50);

pub(super) struct Queue {
    max_lines: usize,
    max_bytes: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    bytes: usize,
    flushes: Vec<Flush>,
    stopped: bool,
    over: bool,
    ended: Vec<oneshot::Sender<()>>,
}

/// Somebody waits until all before it is written.
pub(super) struct Flush {
    /// The log that is asked for; none: all that are known.
    pub(super) log: Option<Arc<FunctionLog>>,
    pub(super) tell: oneshot::Sender<()>,
}

/// What the writer takes at a time.
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) flushes: Vec<Flush>,
}

impl Queue {
    pub(super) fn new(max_lines: usize, max_bytes: usize) -> Self {
        Self {
            max_lines,
            max_bytes,
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// False: there is no room, or nobody who would write it.
    pub(super) fn push(&self, entry: Entry) -> bool {
        let bytes = entry.event.text_bytes();
        let mut state = self.state.lock();
        if state.stopped
            || state.entries.len() >= self.max_lines
            || state.bytes + bytes > self.max_bytes
        {
            return false;
        }
        state.bytes += bytes;
        state.entries.push(entry);
        let (lines, half) = (state.entries.len(), self.max_lines / 2);
        drop(state);
        if lines == 1 || lines == half {
            self.wake.notify_one();
        }
        true
    }

    pub(super) fn flush(&self, log: Option<Arc<FunctionLog>>, tell: oneshot::Sender<()>) {
        let mut state = self.state.lock();
        if !state.stopped {
            state.flushes.push(Flush { log, tell });
            self.wake.notify_one();
        }
    }

    /// Ends the writer after what is queued; tells when it has ended.
    pub(super) fn stop(&self, tell: Option<oneshot::Sender<()>>) {
        let mut state = self.state.lock();
        state.stopped = true;
        if !state.over {
            state.ended.extend(tell);
        }
        self.wake.notify_one();
    }

    /// The next batch; none: it is over. `spare` gives back the room of the last one.
    pub(super) fn take(&self, spare: Vec<Entry>) -> Option<Batch> {
        let mut state = self.state.lock();
        while state.entries.is_empty() && state.flushes.is_empty() {
            if state.stopped {
                state.over = true;
                state.ended.clear();
                return None;
            }
            self.wake.wait(&mut state);
        }
        if state.flushes.is_empty() && !state.stopped && state.entries.len() < self.max_lines / 2 {
            self.wake.wait_for(&mut state, GATHER_MAX);
        }
        state.bytes = 0;
        Some(Batch {
            entries: mem::replace(&mut state.entries, spare),
            flushes: mem::take(&mut state.flushes),
        })
    }
}

impl Event {
    fn text_bytes(&self) -> usize {
        match self {
            Self::Stdout(text) | Self::Stderr(text) | Self::Platform(text) => text.len(),
            Self::Request(served) => {
                let path = served.path.as_ref().map_or(0, |path| path.len());
                path + served.error.as_ref().map_or(0, String::len)
            }
        }
    }
}

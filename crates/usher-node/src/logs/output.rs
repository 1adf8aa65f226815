//! What one request's guest writes, put together to lines.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use usher_core::id::{RequestId, RevisionId};
use usher_engine::{Ended, GuestOutput, GuestStream};

use super::{Event, FunctionLog};

/// The output of one run. What is left of a line is written when the run is over.
pub(crate) struct RequestOutput {
    log: Arc<FunctionLog>,
    revision: RevisionId,
    request: RequestId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    written_bytes: usize,
    full: bool,
}

impl RequestOutput {
    pub(crate) fn new(log: Arc<FunctionLog>, revision: RevisionId, request: RequestId) -> Self {
        Self {
            log,
            revision,
            request,
            state: Mutex::default(),
        }
    }

    /// The run is over: lines that were begun are ended.
    pub(crate) fn finish(&self) {
        let (stdout, stderr) = {
            let mut state = self.state.lock();
            (mem::take(&mut state.stdout), mem::take(&mut state.stderr))
        };
        for (stream, rest) in [(GuestStream::Stdout, stdout), (GuestStream::Stderr, stderr)] {
            if !rest.is_empty() {
                self.line(stream, &rest);
            }
        }
    }

    /// Notes that the run failed when the reply's head had already left.
    pub(crate) fn broke_off(&self, ended: &Ended) {
        self.note(self.request, &format!("the reply broke off: {ended}"));
    }

    fn line(&self, stream: GuestStream, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = String::from_utf8_lossy(line).into_owned();
        let event = match stream {
            GuestStream::Stdout => Event::Stdout(text),
            GuestStream::Stderr => Event::Stderr(text),
        };
        self.log.push(self.revision, Some(self.request), event);
    }
}

impl GuestOutput for RequestOutput {
    fn write(&self, _: RequestId, stream: GuestStream, bytes: &[u8]) {
        let options = &self.log.shared.options;
        let mut state = self.state.lock();
        let room = options
            .request_max_bytes
            .saturating_sub(state.written_bytes);
        let taken = &bytes[..bytes.len().min(room)];
        state.written_bytes += taken.len();
        let full = taken.len() < bytes.len() && !mem::replace(&mut state.full, true);
        let partial = match stream {
            GuestStream::Stdout => &mut state.stdout,
            GuestStream::Stderr => &mut state.stderr,
        };
        for piece in taken.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            partial.extend_from_slice(text);
            while partial.len() > options.line_max_bytes {
                let rest = partial.split_off(options.line_max_bytes);
                self.line(stream, &mem::replace(partial, rest));
            }
            if ends {
                self.line(stream, partial);
                partial.clear();
            }
        }
        drop(state);
        if full {
            let bytes = options.request_max_bytes;
            self.note(
                self.request,
                &format!("the request wrote more than {bytes} bytes; the rest is not logged"),
            );
        }
    }

    fn note(&self, _: RequestId, text: &str) {
        let (revision, request) = (self.revision, Some(self.request));
        self.log.platform(revision, request, text.to_owned());
    }
}

impl Drop for RequestOutput {
    fn drop(&mut self) {
        self.finish();
    }
}

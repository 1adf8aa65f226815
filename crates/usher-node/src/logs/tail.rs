//! The latest lines of one function in memory, and those who follow them.

use std::collections::VecDeque;

use tokio::sync::broadcast;
use usher_api::node::{LogEvent, LogLine};
use usher_core::id::RequestId;

use super::LogOptions;

pub(super) struct Tail {
    lines: VecDeque<LogLine>,
    bytes: usize,
    max_lines: usize,
    max_bytes: usize,
    follow_max_lines: usize,
    followers: Option<broadcast::Sender<LogLine>>,
    /// Whether the lines of the process's earlier lives were read from the file.
    pub(super) read: bool,
}

impl Tail {
    pub(super) fn new(options: &LogOptions) -> Self {
        Self {
            lines: VecDeque::new(),
            bytes: 0,
            max_lines: options.tail_max_lines,
            max_bytes: options.tail_max_bytes,
            follow_max_lines: options.follow_max_lines.max(1),
            followers: None,
            read: false,
        }
    }

    pub(super) fn push(&mut self, line: LogLine) {
        if let Some(followers) = &self.followers
            && followers.send(line.clone()).is_err()
        {
            self.followers = None;
        }
        self.bytes += text_bytes(&line);
        self.lines.push_back(line);
        while self.lines.len() > self.max_lines || self.bytes > self.max_bytes {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= text_bytes(&oldest);
        }
    }

    /// The latest lines, oldest first, of one request where one is named.
    pub(super) fn lines(&self, request: Option<RequestId>, count: Option<usize>) -> Vec<LogLine> {
        let wanted = self
            .lines
            .iter()
            .rev()
            .filter(|line| request.is_none() || line.request == request);
        let mut lines = wanted
            .take(count.unwrap_or(usize::MAX))
            .cloned()
            .collect::<Vec<_>>();
        lines.reverse();
        lines
    }

    pub(super) fn follow(&mut self) -> broadcast::Receiver<LogLine> {
        match &self.followers {
            Some(followers) => followers.subscribe(),
            None => {
                let (followers, lines) = broadcast::channel(self.follow_max_lines);
                self.followers = Some(followers);
                lines
            }
        }
    }

    pub(super) fn unfollow(&mut self) {
        self.followers = None;
    }
}

fn text_bytes(line: &LogLine) -> usize {
    let text = match &line.event {
        LogEvent::Stdout { text } | LogEvent::Stderr { text } | LogEvent::Platform { text } => {
            text.len()
        }
        LogEvent::Request { target, error, .. } => {
            target.len() + error.as_ref().map_or(0, String::len)
        }
    };
    text + size_of::<LogLine>()
}

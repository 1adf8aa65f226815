//! Reading the log: all files as they stood at one moment, merged by time, and what comes then.
//!
//! The writer opens the files and begins the following in one move, so that no line is shown twice
//! and none is left out. What cannot be read, such as a line that was torn by a crash, is passed
//! over.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::{broadcast, mpsc};
use usher_api::access::{AuditLine, AuditQuery};

use super::Following;

/// Lines that were read and wait to be sent.
const READ_AHEAD_LINES: usize = 64;

/// The log at one moment.
pub(crate) struct Look {
    /// Of each log, oldest first, with their lengths then.
    pub(super) files: Vec<Vec<(File, u64)>>,
    pub(super) follow: Following,
}

impl Look {
    /// The lines that a query asks for.
    pub(crate) fn lines(self, query: AuditQuery) -> BoxStream<'static, AuditLine> {
        let (send, lines) = mpsc::channel(READ_AHEAD_LINES);
        let (files, wanted) = (self.files, query.clone());
        tokio::task::spawn_blocking(move || {
            let read = merged(files).filter(|line| wanted.wants(line));
            for line in read {
                // Nobody reads any more.
                if send.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        let now = stream::unfold(lines, |mut lines| async move {
            let line = lines.recv().await?;
            Some((line, lines))
        });
        if !query.follow {
            return now.boxed();
        }
        now.chain(following(self.follow, query)).boxed()
    }
}

fn following(
    follow: Following,
    query: AuditQuery,
) -> impl stream::Stream<Item = AuditLine> + Send + 'static {
    stream::unfold((follow, query), |(mut follow, query)| async move {
        loop {
            match follow.recv().await {
                Ok(line) if query.wants(&line) => {
                    return Some((AuditLine::clone(&line), (follow, query)));
                }
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
}

/// Each log is in order by itself; of their first lines the oldest is always the next.
fn merged(files: Vec<Vec<(File, u64)>>) -> impl Iterator<Item = AuditLine> {
    let logs = files.into_iter().map(|files| {
        let lines = files
            .into_iter()
            .flat_map(|(file, bytes)| read(file.take(bytes)));
        lines.peekable()
    });
    let mut logs: Vec<_> = logs.collect();
    std::iter::from_fn(move || {
        let firsts = logs.iter_mut().enumerate();
        let firsts = firsts.filter_map(|(at, log)| Some((log.peek()?.time_us, at)));
        let (_, at) = firsts.min()?;
        logs[at].next()
    })
}

/// A file has a bound, so a line of it has one too.
fn read(file: impl Read) -> impl Iterator<Item = AuditLine> {
    let mut file = BufReader::new(file);
    let mut next = move || -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = file.read_until(b'\n', &mut line)?;
        Ok((read > 0).then_some(line))
    };
    std::iter::from_fn(move || next().ok().flatten())
        .filter_map(|line| serde_json::from_slice(&line).ok())
}

//! The lines of all functions together, for those who follow all of them.
//!
//! A line goes to its function's tail and to those who follow everyone under one lock, so that
//! whoever begins to follow has each line either among the earlier ones or among the new ones. The
//! lock is the writer's; requests never take it.

use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{broadcast, oneshot};
use usher_api::node::{FunctionLogLine, LogLine, LogQuery};
use usher_core::id::{FunctionKey, Name};

use super::tail::Tail;
use super::{FunctionLog, Shared, skipped};

/// Earlier lines of all functions together that are shown, however many are asked for.
pub const LINES_MAX: usize = 10_000;

/// Those who follow all functions.
pub(super) struct Everyone {
    follow_max_lines: usize,
    followers: Mutex<Followers>,
}

enum Followers {
    None,
    Some(broadcast::Sender<FunctionLogLine>),
    /// The log has ended: nothing will come any more.
    Over,
}

impl Everyone {
    pub(super) fn new(follow_max_lines: usize) -> Self {
        Self {
            follow_max_lines: follow_max_lines.max(1),
            followers: Mutex::new(Followers::None),
        }
    }

    /// A line has come: to its function's tail, and to whoever follows.
    pub(super) fn told(&self, function: &FunctionKey, tail: &Mutex<Tail>, line: LogLine) {
        let mut followers = self.followers.lock();
        if let Followers::Some(told) = &*followers {
            let line = FunctionLogLine {
                function: function.clone(),
                line: line.clone(),
            };
            if told.send(line).is_err() {
                *followers = Followers::None;
            }
        }
        tail.lock().push(line);
    }

    pub(super) fn unfollow(&self) {
        *self.followers.lock() = Followers::Over;
    }

    /// The earlier lines of these logs, and the new ones of all where that is asked for.
    fn look(
        &self,
        logs: &[Arc<FunctionLog>],
        query: &LogQuery,
    ) -> (
        Vec<FunctionLogLine>,
        Option<broadcast::Receiver<FunctionLogLine>>,
    ) {
        let mut followers = self.followers.lock();
        let follow = match &*followers {
            _ if !query.follow => None,
            Followers::Over => None,
            Followers::Some(told) => Some(told.subscribe()),
            Followers::None => {
                let (told, lines) = broadcast::channel(self.follow_max_lines);
                *followers = Followers::Some(told);
                Some(lines)
            }
        };
        let most = query.tail.unwrap_or(LINES_MAX).min(LINES_MAX);
        let mut all = Vec::new();
        for log in logs {
            let lines = log.tail.lock().lines(query.request, Some(most));
            all.extend(
                lines
                    .into_iter()
                    .filter(|line| query.wants(line))
                    .map(|line| FunctionLogLine {
                        function: log.key.clone(),
                        line,
                    }),
            );
        }
        drop(followers);
        all.sort_by_key(|line| line.line.time_us);
        all.drain(..all.len().saturating_sub(most));
        (all, follow)
    }
}

/// See [`super::Logs::query_all`].
pub(super) fn query(
    shared: Arc<Shared>,
    mut logs: Vec<Arc<FunctionLog>>,
    owner: Option<Name>,
    query: LogQuery,
) -> BoxStream<'static, FunctionLogLine> {
    let is_asked = move |function: &FunctionKey| {
        let asked = owner.as_ref();
        asked.is_none_or(|owner| *owner == function.owner)
    };
    logs.retain(|log| is_asked(&log.key));
    let wanted = query.clone();
    let lines = async move {
        let (tell, written) = oneshot::channel();
        shared.queue.flush(None, tell);
        // A writer that has ended has written all it had.
        let _ = written.await;
        shared.everyone.look(&logs, &query)
    };
    stream::once(lines)
        .flat_map(move |(lines, follow)| {
            let (wanted, is_asked) = (wanted.clone(), is_asked.clone());
            let is_wanted =
                move |line: &FunctionLogLine| is_asked(&line.function) && wanted.wants(&line.line);
            let new = follow.map(|follow| following(follow, is_wanted));
            stream::iter(lines).chain(stream::iter(new).flatten())
        })
        .boxed()
}

/// New lines as they come. Where some were missed, that is said beside the line before them.
fn following(
    lines: broadcast::Receiver<FunctionLogLine>,
    is_wanted: impl Fn(&FunctionLogLine) -> bool,
) -> impl stream::Stream<Item = FunctionLogLine> {
    let begin = (lines, None::<FunctionKey>, is_wanted);
    stream::unfold(begin, |(mut lines, mut last, is_wanted)| async move {
        loop {
            let line = match lines.recv().await {
                Ok(line) if is_wanted(&line) => line,
                Ok(_) => continue,
                Err(broadcast::error::RecvError::Lagged(count)) => match last.take() {
                    Some(function) => FunctionLogLine {
                        function,
                        line: skipped(count),
                    },
                    None => continue,
                },
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            last = Some(line.function.clone());
            return Some((line, (lines, last, is_wanted)));
        }
    })
}

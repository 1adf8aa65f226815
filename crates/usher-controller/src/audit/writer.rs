//! The thread that writes: it takes orders as they come, and syncs once for all changes among those
//! that had queued up.
//!
//! Deliberately absent: what stands in a line.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};
use usher_api::access::AuditLine;

use super::files::Files;
use super::look::Look;
use super::{AuditOptions, LINE_MAX_BYTES, Log};

/// Orders that are carried out between two syncs at most.
const ORDERS_AT_ONCE_MAX: usize = 256;

/// What the writer is asked to do.
pub(super) enum Order {
    /// Take room for the line of a change.
    Take {
        tell: oneshot::Sender<io::Result<()>>,
    },
    /// No line comes for room that was taken.
    GiveBack,
    /// Write a line; where somebody is told, he is told when it is on disk.
    Line {
        log: Log,
        line: Box<AuditLine>,
        gives_back: bool,
        tell: Option<oneshot::Sender<io::Result<()>>>,
    },
    /// Show all that is written.
    Look {
        tell: oneshot::Sender<io::Result<Look>>,
    },
}

struct Writer {
    /// In the order of [`Log::ALL`]; empty: lines are not kept.
    logs: Vec<Files>,
    follow: broadcast::Sender<Arc<AuditLine>>,
    failed: u64,
}

/// Opens the files and starts the thread, which ends when nobody can give orders any more.
pub(super) fn start(options: &AuditOptions, orders: mpsc::Receiver<Order>) -> io::Result<()> {
    let mut logs = Vec::new();
    if let Some(folder) = &options.folder {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let (file_max_bytes, files_max) = (options.file_max_bytes, options.files_max);
        for log in Log::ALL {
            logs.push(Files::open(folder, log.name(), file_max_bytes, files_max)?);
        }
    }
    let (follow, _) = broadcast::channel(options.follow_max_lines.max(1));
    let writer = Writer {
        logs,
        follow,
        failed: 0,
    };
    std::thread::Builder::new()
        .name("usher-audit".into())
        .spawn(move || writer.run(orders))?;
    Ok(())
}

impl Writer {
    fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut some = Vec::new();
        while orders.blocking_recv_many(&mut some, ORDERS_AT_ONCE_MAX) > 0 {
            let mut written = Vec::new();
            for order in some.drain(..) {
                self.carry_out(order, &mut written);
            }
            if written.is_empty() {
                continue;
            }
            let synced = self.log(Log::Changes).map_or(Ok(()), |files| files.sync());
            if let Err(error) = &synced {
                tracing::error!(%error, "the audit log was not synced");
            }
            for tell in written {
                let told = match &synced {
                    Ok(()) => Ok(()),
                    Err(error) => Err(again(error)),
                };
                // Who asked may have gone away.
                let _ = tell.send(told);
            }
        }
    }

    fn carry_out(&mut self, order: Order, written: &mut Vec<oneshot::Sender<io::Result<()>>>) {
        match order {
            Order::Take { tell } => {
                let taken = self
                    .log(Log::Changes)
                    .map_or(Ok(()), |files| files.take(LINE_MAX_BYTES));
                if let Err(Ok(())) = tell.send(taken) {
                    self.give_back();
                }
            }
            Order::GiveBack => self.give_back(),
            Order::Line {
                log,
                line,
                gives_back,
                tell,
            } => {
                let appended = self.append(log, *line, gives_back);
                if gives_back {
                    self.give_back();
                }
                match (tell, appended) {
                    (Some(tell), Ok(())) => written.push(tell),
                    (Some(tell), Err(error)) => {
                        let _ = tell.send(Err(error));
                    }
                    (None, _) => {}
                }
            }
            Order::Look { tell } => {
                let files = self.logs.iter().map(Files::opened).collect();
                let follow = self.follow.subscribe();
                let look = |files: io::Result<_>| files.map(|files| Look { files, follow });
                let _ = tell.send(look(files));
            }
        }
    }

    fn append(&mut self, log: Log, line: AuditLine, has_room: bool) -> io::Result<()> {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let appended = self
            .log(log)
            .map_or(Ok(()), |files| files.append(&text, has_room));
        match &appended {
            Ok(()) => {
                // An error says that nobody follows.
                let _ = self.follow.send(Arc::new(line));
            }
            Err(error) => {
                self.failed += 1;
                if self.failed.is_power_of_two() {
                    let failed = self.failed;
                    tracing::error!(%error, failed, "a line of the audit log was not written");
                }
            }
        }
        appended
    }

    fn give_back(&mut self) {
        if let Some(files) = self.log(Log::Changes) {
            files.give_back(LINE_MAX_BYTES);
        }
    }

    fn log(&mut self, log: Log) -> Option<&mut Files> {
        self.logs.get_mut(log as usize)
    }
}

/// One error for each of several who wait for the same.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

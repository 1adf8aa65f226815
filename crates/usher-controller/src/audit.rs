//! The audit log: one line for each call of the API, on disk before a change is answered.
//!
//! ```text
//!   a change ─► room for its line, or refused ─► carried out ─► line, fsync ─► answered
//!   a read, or a refusal ──────────────────────► answered ────► line (no fsync)
//! ```
//!
//! Three logs lie beside each other, so that none can push another one out: `changes`, `reads`, and
//! `refused` (calls that had no right to be made, of which anybody can make as many as he likes).
//! Each is a current file and earlier ones, with bounds on both.
//!
//! Room for the line of a change is taken on the disk before the change begins. Where there is
//! none, nothing is changed and the call is refused; reads go on, and their lines are lost.
//!
//! Deliberately absent: what a call is (`api::call`), and whom it is shown to (`api::gate`).

mod files;
mod look;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::{broadcast, mpsc, oneshot};
use usher_api::access::AuditLine;

pub(crate) use look::Look;
use writer::Order;

/// The longest line, in bytes; so much room is taken for the line of a change.
const LINE_MAX_BYTES: u64 = 4_096;

/// Where the audit log is, and its bounds.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// The folder; none: lines are shown to those who follow, and not kept.
    pub folder: Option<PathBuf>,
    /// One file, in bytes.
    pub file_max_bytes: u64,
    /// Files of each of the three logs, the current one included; at least 1.
    pub files_max: u32,
    /// Lines that wait to be written; further ones of reads are lost, those of changes wait.
    pub queue_max_lines: usize,
    /// Lines that somebody who follows may be behind before some are skipped.
    pub follow_max_lines: usize,
}

impl Default for AuditOptions {
    fn default() -> Self {
        Self {
            folder: None,
            file_max_bytes: 16 << 20,
            files_max: 8,
            queue_max_lines: 4_096,
            follow_max_lines: 1_024,
        }
    }
}

/// Which of the logs a line goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// Calls that may change something.
    Changes,
    /// Calls that change nothing.
    Reads,
    /// Calls without the right to be made.
    Refused,
}

impl Log {
    const ALL: [Self; 3] = [Self::Changes, Self::Reads, Self::Refused];

    const fn name(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Reads => "reads",
            Self::Refused => "refused",
        }
    }
}

/// Why a call that would change something is refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "nothing was changed, because the audit log has no room for a line about it; make room on the \
     disk of the data folder"
)]
pub(crate) struct NoRoom(#[source] io::Error);

/// The audit log of one platform. Dropping it writes what is queued.
pub(crate) struct Audit {
    orders: mpsc::Sender<Order>,
    lost: AtomicU64,
}

/// Room for one line of a change on the disk, given back by drop.
pub(crate) struct Room {
    audit: Arc<Audit>,
    taken: bool,
}

impl Audit {
    /// Opens the log and starts its writer.
    pub(crate) fn open(options: &AuditOptions) -> io::Result<Arc<Self>> {
        let (orders, received) = mpsc::channel(options.queue_max_lines.max(1));
        writer::start(options, received)?;
        Ok(Arc::new(Self {
            orders,
            lost: AtomicU64::new(0),
        }))
    }

    /// Takes room for the line of a change.
    pub(crate) async fn room(self: &Arc<Self>) -> Result<Room, NoRoom> {
        let (tell, told) = oneshot::channel();
        self.ask(Order::Take { tell }, told).await.map_err(NoRoom)?;
        Ok(Room {
            audit: Arc::clone(self),
            taken: true,
        })
    }

    /// Writes the line of a change. Once this has returned `Ok` it is on disk.
    pub(crate) async fn change(&self, line: AuditLine, mut room: Room) -> io::Result<()> {
        let (tell, told) = oneshot::channel();
        let order = Order::Line {
            log: Log::Changes,
            line: Box::new(line),
            gives_back: std::mem::take(&mut room.taken),
            tell: Some(tell),
        };
        self.ask(order, told).await
    }

    /// Writes a line soon, without waiting. Where too many wait it is lost.
    pub(crate) fn note(&self, log: Log, line: AuditLine, room: Option<Room>) {
        let gives_back = room.is_some_and(|mut room| std::mem::take(&mut room.taken));
        let order = Order::Line {
            log,
            line: Box::new(line),
            gives_back,
            tell: None,
        };
        if self.orders.try_send(order).is_err() {
            let lost = self.lost.fetch_add(1, Relaxed) + 1;
            // Not for each: what is lost in a flood must not become a flood of its own.
            if lost.is_power_of_two() {
                tracing::warn!(lost, "lines of the audit log were lost: too many wait");
            }
        }
    }

    /// All lines that were written until now, and those to come.
    pub(crate) async fn look(&self) -> io::Result<Look> {
        let (tell, told) = oneshot::channel();
        self.ask(Order::Look { tell }, told).await
    }

    async fn ask<T>(&self, order: Order, told: oneshot::Receiver<io::Result<T>>) -> io::Result<T> {
        let gone = || io::Error::other("the writer of the audit log has ended");
        self.orders.send(order).await.map_err(|_| gone())?;
        told.await.map_err(|_| gone())?
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.taken {
            // Where the queue is full the room stays taken, which costs a line's worth of disk.
            let _ = self.audit.orders.try_send(Order::GiveBack);
        }
    }
}

/// Lines as they are written, for those who follow.
type Following = broadcast::Receiver<Arc<AuditLine>>;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;

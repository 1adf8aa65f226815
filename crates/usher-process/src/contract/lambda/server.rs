//! The listener and the connections of one environment's Runtime API.
//!
//! ```text
//! accept, while there is a place ─► connection ─ calls, one after the other ─► closed
//!                                        └ a head that does not get on ─────► cut
//! ```
//!
//! One piece of work has them all, so that a program can keep no more than one thread of the
//! platform busy (`work`). Connections beyond [`CONNECTIONS_MAX`] wait in the kernel, at the
//! program's own cost. The sockets outlive the work: a program that is put back finds them as they
//! were (`rewind`).
//! Deliberately absent: a limit on how long a call may take, which is the invocation's own.

mod connection;
mod line;
mod rewind;
mod work;

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use self::connection::connection;
use self::line::Line;
use self::rewind::Remembered;
pub use self::rewind::{NotRemembered, NotRewound};
use self::work::Work;
use super::desk::{Closed, Desk};

/// How many connections a program may have. Clients have one, and a second one for a failed
/// initialisation or an extension.
pub(super) const CONNECTIONS_MAX: usize = 8;

/// The program's side of a Runtime API. Dropping it ends its connections and its task.
pub(super) struct Server {
    listener: Arc<TcpListener>,
    lines: Arc<Lines>,
    work: Work,
    remembered: Option<Vec<Remembered>>,
}

impl Server {
    /// Serves whoever connects. Must be called within a tokio runtime.
    pub(super) fn serve(listener: TcpListener, desk: &Arc<Desk>) -> Self {
        let server = Self {
            listener: Arc::new(listener),
            lines: Arc::default(),
            work: Work::start(),
            remembered: None,
        };
        server.go_on(Vec::new(), desk);
        server
    }

    /// Serves, and first of all these connections, as if the program had just sent these bytes.
    fn go_on(&self, begun: Vec<(Arc<Line>, Bytes)>, desk: &Arc<Desk>) {
        let (listener, lines) = (self.listener.clone(), self.lines.clone());
        let desk = desk.clone();
        self.work.begin(async move {
            serve(&listener, &lines, begun, &desk).await;
            lines.end();
        });
    }

    /// Stops whatever is under way. On return nothing is read or written any more, and all
    /// connections are still open.
    pub(super) fn pause(&self) {
        self.work.stop();
    }

    /// Does something of which there comes something to be done here, and then does that at once.
    pub(super) fn after<T>(&self, something: impl FnOnce() -> T) -> T {
        self.work.after(something)
    }
}

/// The connections that are open.
#[derive(Default)]
struct Lines(Mutex<Vec<Arc<Line>>>);

impl Lines {
    fn add(&self, line: &Arc<Line>) {
        self.0.lock().push(line.clone());
    }

    fn remove(&self, line: &Arc<Line>) {
        self.0.lock().retain(|other| !Arc::ptr_eq(other, line));
    }

    fn all(&self) -> Vec<Arc<Line>> {
        self.0.lock().clone()
    }

    fn end(&self) {
        for line in self.0.lock().drain(..) {
            line.end();
        }
    }
}

/// Serves until the listener fails or the program is out of order.
async fn serve(
    listener: &TcpListener,
    lines: &Lines,
    begun: Vec<(Arc<Line>, Bytes)>,
    desk: &Arc<Desk>,
) {
    let begun = begun.into_iter();
    let begun = begun.map(|(line, input)| connection(line, input, desk.clone()));
    let mut connections: FuturesUnordered<_> = begun.collect();
    let mut seen = desk.watch();
    let mut disorder = pin!(seen.wait_for(|seen| seen.closed.is_some()));
    loop {
        let room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            _ = &mut disorder => return,
            Some(line) = connections.next() => lines.remove(&line),
            accepted = listener.accept(), if room => match accepted {
                Ok((socket, _)) => {
                    let line = Arc::new(Line::new(socket));
                    lines.add(&line);
                    connections.push(connection(line, Bytes::new(), desk.clone()));
                }
                // The program has given up on a connection that nobody had accepted yet.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(
                        %error,
                        function = desk.about.name,
                        "the Runtime API of an environment ended: its listener failed"
                    );
                    desk.close(Closed::Listener);
                    return;
                }
            },
        }
    }
}

//! The requests of one HTTP/2 connection: each has a task, so that one that waits holds up no other.
//!
//! ```text
//!   a task ─┬ its request ends ───────────────────────────────────► gone
//!           ├ a piece waits for the client's window, too long ────► dropped: the stream is reset
//!           └ the connection ends ────────────────────────────────► aborted
//! ```
//!
//! HTTP/2 has a window for each request. One whose client never opens it would hold its function
//! for ever while the connection as a whole moves; what the body has given out and was not asked
//! for again tells so.
//!
//! Deliberately absent: requests whose last piece was handed to the connection, which are nobody's
//! burden but the connection's own, and that one has its own bound (see `wire`).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

tokio::task_local! {
    /// The request that this task serves.
    static FLOW: Arc<Flow>;
}

/// How a reply's body moves, between the body and the task that sends it.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    pieces: AtomicU64,
    waits: AtomicBool,
}

impl Flow {
    /// That of the request whose task this is; none on HTTP/1.1.
    pub(crate) fn current() -> Option<Arc<Self>> {
        FLOW.try_with(Arc::clone).ok()
    }

    /// A piece was given out, and waits until the client takes it.
    pub(crate) fn give(&self) {
        self.pieces.fetch_add(1, Relaxed);
        self.waits.store(true, Relaxed);
    }

    /// The next piece is asked for, so the one before was taken.
    pub(crate) fn taken(&self) {
        self.waits.store(false, Relaxed);
    }

    /// The piece that waits, by number.
    fn waiting(&self) -> Option<u64> {
        self.waits.load(Relaxed).then(|| self.pieces.load(Relaxed))
    }
}

/// The tasks of one connection. Dropping it ends them.
pub(crate) struct Streams {
    tasks: Arc<Mutex<JoinSet<()>>>,
    stall_max: Duration,
}

/// What spawns them. It holds on to nothing: the tasks have it themselves.
#[derive(Clone)]
pub(crate) struct Spawner {
    tasks: Weak<Mutex<JoinSet<()>>>,
    stall_max: Duration,
}

impl Streams {
    pub(crate) fn new(write_stall_max_ms: u64) -> Self {
        Self {
            tasks: Arc::default(),
            stall_max: Duration::from_millis(write_stall_max_ms),
        }
    }

    pub(crate) fn spawner(&self) -> Spawner {
        Spawner {
            tasks: Arc::downgrade(&self.tasks),
            stall_max: self.stall_max,
        }
    }

    /// Ends those that are left, and waits for it.
    pub(crate) async fn end(self) {
        let mut left = std::mem::take(&mut *self.tasks.lock());
        left.shutdown().await;
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, request: F) {
        // Gone where the connection has ended, and then nobody waits for an answer.
        let Some(tasks) = self.tasks.upgrade() else {
            return;
        };
        let mut tasks = tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(serve(request, self.stall_max));
    }
}

/// Runs one request, unless its client takes nothing of the reply for too long.
async fn serve(request: impl Future<Output = ()>, stall_max: Duration) {
    let flow = Arc::<Flow>::default();
    let mut request = pin!(FLOW.scope(Arc::clone(&flow), request));
    let mut patience = Patience {
        timer: None,
        piece: 0,
        stall_max,
    };
    poll_fn(|cx| match request.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => patience.poll(&flow, cx),
    })
    .await;
}

/// How long a piece may wait; the timer exists only while one does.
struct Patience {
    timer: Option<Pin<Box<Sleep>>>,
    piece: u64,
    stall_max: Duration,
}

impl Patience {
    /// Ready: it has waited too long.
    fn poll(&mut self, flow: &Flow, cx: &mut Context<'_>) -> Poll<()> {
        let Some(piece) = flow.waiting() else {
            self.timer = None;
            return Poll::Pending;
        };
        let until = Instant::now() + self.stall_max;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if std::mem::replace(&mut self.piece, piece) != piece {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

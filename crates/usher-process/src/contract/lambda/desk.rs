//! Where the program's calls and the platform's meet: the state of one environment's Runtime API,
//! the event that waits, and the way back for its reply.
//!
//! Every change goes through `life::step`; what comes of it is published on a watch channel.
//! Deliberately absent: HTTP on the program's side (`calls`) and requests on the caller's (`api`).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use usher_core::id::RequestId;

use super::about::About;
use super::failure::{Failure, FunctionError};
use super::life::{Action, Event, Refusal, State, step};
use super::stream::{Broken, Piece};

/// How many calls that lead nowhere a program may make from one reply to the next. Clients make a
/// few at their start; a program that makes more keeps the platform busy for nothing.
pub(super) const IDLE_CALLS_MAX: u32 = 1_000;

/// An event on its way to the program.
pub(super) struct Delivery {
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What the program replies.
pub(super) enum Reply {
    /// A buffered result.
    Result(Bytes),
    /// None.
    Failed(Failure),
    /// A result that is still being made.
    Stream(Stream),
}

/// A result that is still being made.
pub(super) struct Stream {
    pub(super) content_type: Option<HeaderValue>,
    pub(super) frames: mpsc::Receiver<Piece>,
    /// How it ended; dropped if it was cut.
    pub(super) ended: oneshot::Receiver<Result<(), Broken>>,
}

/// Why nothing is served any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The listener failed, or the server's task is gone.
    Listener,
    /// The program made more than [`IDLE_CALLS_MAX`] calls that lead nowhere.
    Disorder,
}

/// What the platform's side may know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) state: State,
    /// How often the program has become idle.
    pub(super) asked: u64,
    pub(super) closed: Option<Closed>,
}

struct Held {
    state: State,
    delivery: Option<Arc<Delivery>>,
    reply: Option<oneshot::Sender<Reply>>,
    init_error: Option<FunctionError>,
    restore_error: Option<FunctionError>,
    idle_calls: u32,
}

/// One environment's Runtime API.
pub(super) struct Desk {
    pub(super) about: Arc<About>,
    held: Mutex<Held>,
    seen: watch::Sender<Seen>,
    offered: Notify,
}

impl Desk {
    pub(super) fn new(about: Arc<About>) -> Arc<Self> {
        let state = State::Starting;
        Arc::new(Self {
            about,
            held: Mutex::new(Held {
                state,
                delivery: None,
                reply: None,
                init_error: None,
                restore_error: None,
                idle_calls: 0,
            }),
            seen: watch::Sender::new(Seen {
                state,
                asked: 0,
                closed: None,
            }),
            offered: Notify::new(),
        })
    }

    /// Follows the state.
    pub(super) fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Says that nothing is served any more.
    pub(super) fn close(&self, why: Closed) {
        self.seen
            .send_modify(|seen| seen.closed = seen.closed.or(Some(why)));
    }

    fn step(&self, held: &mut Held, event: Event) -> Result<Action, Refusal> {
        let (state, action) = step(held.state, event)?;
        let became_idle = state == State::Idle && held.state != State::Idle;
        held.state = state;
        self.seen.send_modify(|seen| {
            seen.state = state;
            seen.asked += u64::from(became_idle);
        });
        Ok(action)
    }

    /// Puts an event out for the program; its reply comes back by the receiver.
    pub(super) fn offer(
        &self,
        id: RequestId,
        delivery: Delivery,
    ) -> Result<oneshot::Receiver<Reply>, Refusal> {
        let (reply, replied) = oneshot::channel();
        let mut held = self.held.lock();
        self.step(&mut held, Event::Invoke(id))?;
        held.delivery = Some(Arc::new(delivery));
        held.reply = Some(reply);
        drop(held);
        self.offered.notify_one();
        Ok(replied)
    }

    /// The program's next event, when there is one.
    pub(super) async fn next(&self) -> Result<Arc<Delivery>, Refusal> {
        loop {
            {
                let mut held = self.held.lock();
                if self.step(&mut held, Event::Next)? == Action::Deliver
                    && let Some(delivery) = &held.delivery
                {
                    return Ok(Arc::clone(delivery));
                }
            }
            self.offered.notified().await;
        }
    }

    /// The program begins to reply.
    pub(super) fn begin(self: &Arc<Self>, event: Event) -> Result<Turn, Refusal> {
        let mut held = self.held.lock();
        self.step(&mut held, event)?;
        held.delivery = None;
        held.idle_calls = 0;
        Ok(Turn {
            desk: Arc::clone(self),
            reply: held.reply.take(),
        })
    }

    /// Whether the program may report now that its initialisation has failed.
    pub(super) fn may_fail(&self) -> Result<(), Refusal> {
        step(self.held.lock().state, Event::InitError).map(drop)
    }

    /// The program's initialisation has failed.
    pub(super) fn fail(&self, error: FunctionError) -> Result<(), Refusal> {
        let mut held = self.held.lock();
        // Before it is published, so that whoever sees the state finds the error.
        step(held.state, Event::InitError)?;
        held.init_error = Some(error);
        self.step(&mut held, Event::InitError).map(drop)
    }

    /// What the program told of its failed initialisation.
    pub(super) fn init_error(&self) -> Option<FunctionError> {
        self.held.lock().init_error.clone()
    }

    /// Waits until the program's state is given back.
    pub(super) async fn restore_next(&self) -> Result<(), Refusal> {
        {
            let mut held = self.held.lock();
            self.step(&mut held, Event::RestoreNext)?;
        }
        let mut seen = self.watch();
        // The sender is owned by `self`.
        let _ = seen
            .wait_for(|seen| seen.state != State::RestoreReady)
            .await;
        Ok(())
    }

    /// The program's state was taken or given back: its hooks are to run.
    pub(super) fn restore(&self) -> Result<(), Refusal> {
        let mut held = self.held.lock();
        self.step(&mut held, Event::Restore).map(drop)
    }

    /// Whether the program may report now that one of its hooks has failed.
    pub(super) fn may_fail_restore(&self) -> Result<(), Refusal> {
        step(self.held.lock().state, Event::RestoreError).map(drop)
    }

    /// One of the program's hooks has failed.
    pub(super) fn fail_restore(&self, error: FunctionError) -> Result<(), Refusal> {
        let mut held = self.held.lock();
        // Before it is published, so that whoever sees the state finds the error.
        step(held.state, Event::RestoreError)?;
        held.restore_error = Some(error);
        self.step(&mut held, Event::RestoreError).map(drop)
    }

    /// What the program told of its failed hook.
    pub(super) fn restore_error(&self) -> Option<FunctionError> {
        self.held.lock().restore_error.clone()
    }

    /// Counts a call that leads nowhere.
    pub(super) fn idle_call(&self) {
        let mut held = self.held.lock();
        held.idle_calls = held.idle_calls.saturating_add(1);
        if held.idle_calls > IDLE_CALLS_MAX {
            drop(held);
            self.close(Closed::Disorder);
        }
    }
}

/// A program's right to reply, once. Dropped without a reply, the reply was cut.
pub(super) struct Turn {
    desk: Arc<Desk>,
    reply: Option<oneshot::Sender<Reply>>,
}

impl Turn {
    /// Hands the reply to the caller, who may be gone.
    pub(super) fn give(&mut self, reply: Reply) {
        if let Some(sender) = self.reply.take() {
            let _ = sender.send(reply);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.give(Reply::Failed(Failure::Truncated));
        let mut held = self.desk.held.lock();
        // The only state that a turn can be in is the one that this event ends.
        let _ = self.desk.step(&mut held, Event::End);
    }
}

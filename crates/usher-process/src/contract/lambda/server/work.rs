//! What a server does, done by whoever has just caused it, or else by a task.
//!
//! ```text
//! begin ─► done as far as that goes at once ─► rests ─something comes → task, or `after`─┐
//!                                                ▲                                       │
//!                                                └───────────────────────────────────────┘
//! stop:    dropped, wherever it was
//! ```
//!
//! Between two threads each step costs a wake-up, which is as much as a small call: so an event is
//! written by the thread that offers it, and a program that was put back has asked for its event
//! when [`Work::begin`] returns. Nothing depends on that: whatever is left is done by the task.
//! Deliberately absent: what is done.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

/// How often work is asked at once whether it goes on; then it is the task's.
const ROUNDS_MAX: usize = 8;

type Doing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// See the module. Dropping it stops it, and ends its task.
pub(super) struct Work {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// None: stopped, or done.
    doing: Mutex<Option<Doing>>,
    bell: Arc<Bell>,
}

/// Wakes the task, unless somebody is about to do its work.
#[derive(Default)]
struct Bell {
    task: AtomicWaker,
    /// Somebody asks, so that the task need not be woken.
    held: AtomicBool,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.held.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Work {
    /// Nothing to do yet. Must be called within a tokio runtime.
    pub(super) fn start() -> Self {
        let shared = Arc::<Shared>::default();
        let of_task = shared.clone();
        let task = std::future::poll_fn(move |context| {
            of_task.bell.task.register(context.waker());
            of_task.poll();
            Poll::Pending
        });
        Self {
            shared,
            task: tokio::spawn(task),
        }
    }

    /// Does this instead of what was done before.
    pub(super) fn begin(&self, doing: impl Future<Output = ()> + Send + 'static) {
        self.after(|| {
            let former = self.shared.doing.lock().replace(Box::pin(doing));
            drop(former);
            self.shared.bell.rung.store(true, Ordering::SeqCst);
        });
    }

    /// Stops. On return nothing is done any more, and what was being done is dropped.
    pub(super) fn stop(&self) {
        let former = self.shared.doing.lock().take();
        drop(former);
    }

    /// Does something that leads to work, and then that work.
    pub(super) fn after<T>(&self, something: impl FnOnce() -> T) -> T {
        let bell = &self.shared.bell;
        bell.held.store(true, Ordering::SeqCst);
        let done = something();
        for _ in 0..ROUNDS_MAX {
            if !bell.rung.load(Ordering::SeqCst) {
                break;
            }
            self.shared.poll();
        }
        bell.held.store(false, Ordering::SeqCst);
        // What rang in between has woken nobody.
        if bell.rung.load(Ordering::SeqCst) {
            bell.task.wake();
        }
        done
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.stop();
        self.task.abort();
    }
}

impl Shared {
    fn poll(&self) {
        let mut doing = self.doing.lock();
        self.bell.rung.store(false, Ordering::SeqCst);
        let waker = Waker::from(self.bell.clone());
        let polled = doing
            .as_mut()
            .map(|it| it.as_mut().poll(&mut Context::from_waker(&waker)));
        if let Some(Poll::Ready(())) = polled {
            *doing = None;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// Work that takes numbers, and where it was last.
    fn counting(
        mut numbers: mpsc::UnboundedReceiver<usize>,
    ) -> (Arc<AtomicUsize>, impl Future<Output = ()>) {
        let last = Arc::<AtomicUsize>::default();
        let told = last.clone();
        let doing = async move {
            while let Some(number) = numbers.recv().await {
                told.store(number, Ordering::SeqCst);
            }
        };
        (last, doing)
    }

    #[tokio::test]
    async fn what_comes_of_something_is_done_on_return() {
        let (numbers, taken) = mpsc::unbounded_channel();
        let (last, doing) = counting(taken);
        let work = Work::start();
        numbers.send(1).unwrap();
        work.begin(doing);
        // The task has not run yet: this one has not waited since.
        assert_eq!(last.load(Ordering::SeqCst), 1);
        for number in 2..100 {
            work.after(|| numbers.send(number)).unwrap();
            assert_eq!(last.load(Ordering::SeqCst), number);
        }
    }

    #[tokio::test]
    async fn what_comes_by_itself_is_done_by_the_task() {
        let (first, went_on) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let work = Work::start();
        work.begin(async move {
            let _ = went_on.await;
            let _ = done.send(());
        });
        first.send(()).unwrap();
        is_done.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_that_rings_meanwhile_is_lost() {
        for _ in 0..1_000 {
            let (numbers, taken) = mpsc::unbounded_channel();
            let (echoes, mut echoed) = mpsc::unbounded_channel();
            let work = Work::start();
            let mut taken: mpsc::UnboundedReceiver<usize> = taken;
            work.begin(async move {
                while let Some(number) = taken.recv().await {
                    echoes.send(number).unwrap();
                }
            });
            let others = numbers.clone();
            let sending = tokio::spawn(async move { others.send(1) });
            work.after(|| numbers.send(2)).unwrap();
            sending.await.unwrap().unwrap();
            let both = [echoed.recv().await.unwrap(), echoed.recv().await.unwrap()];
            assert_eq!(both.iter().sum::<usize>(), 3);
        }
    }

    #[tokio::test]
    async fn what_was_stopped_is_dropped_and_never_goes_on() {
        let (numbers, taken) = mpsc::unbounded_channel();
        let (last, doing) = counting(taken);
        let work = Work::start();
        work.begin(doing);
        work.stop();
        assert!(numbers.send(1).is_err());
        work.after(|| ());
        assert_eq!(last.load(Ordering::SeqCst), 0);
    }
}

//! The platform's hold on its spawner: starting it, asking it, and starting it again when it was
//! killed.
//!
//! Orders go through one task, so that a caller that gives up does not leave an answer behind that
//! the next one would take for its own. Deliberately absent: what the orders are for.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

use super::SandboxOptions;
use super::channel::Channel;
use super::errors::OpenError;
use super::state::State;
use super::wire::{self, Done, Failure, Order};

/// Orders that may wait.
const ORDERS_MAX: usize = 64;

type Answer = Result<Option<OwnedFd>, Failure>;
type Request = (Order, Option<OwnedFd>, oneshot::Sender<Answer>);

/// A spawner that runs, or ran.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    orders: mpsc::Sender<Request>,
    ended: watch::Receiver<bool>,
}

/// The spawner has gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Handle {
    /// Starts a spawner and has it make the root.
    pub(super) async fn start(
        options: &SandboxOptions,
        state: &State,
        groups: &[PathBuf],
    ) -> Result<Self, OpenError> {
        let lock = state.sandboxes_lock().await?;
        let failed = |source| OpenError::Spawner {
            program: options.program.clone(),
            source,
        };
        let (here, there) = wire::pair().map_err(failed)?;
        let child = Command::new(&options.program)
            .args(&options.args)
            .env_clear()
            // What becomes a program is under its filter before anybody answers its calls, so that
            // its allocator must not drop pages (mimalloc's setting; the C library does not).
            .env("MIMALLOC_PURGE_DELAY", "-1")
            .current_dir("/")
            .stdin(Stdio::from(there))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(failed)?;
        let channel = Channel::new(here).map_err(failed)?;
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let (tell, ended) = watch::channel(false);
        tokio::spawn(async move {
            serve(channel, child, waiting).await;
            tell.send_replace(true);
        });
        let handle = Self { orders, ended };
        let order = Order::Open {
            place: state.place(),
            root: options.root.clone(),
            groups: groups.to_vec(),
        };
        match handle.ask(order, Some(lock)).await {
            Ok(Ok(_)) => Ok(handle),
            Ok(Err(failure)) => Err(OpenError::Refused {
                why: failure.to_string(),
            }),
            Err(Gone) => Err(failed(std::io::Error::other("it ended at once"))),
        }
    }

    /// Gives an order and waits for what comes of it.
    pub(super) async fn ask(&self, order: Order, beside: Option<OwnedFd>) -> Result<Answer, Gone> {
        let (answer, answered) = oneshot::channel();
        self.orders
            .send((order, beside, answer))
            .await
            .map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Whether it is known to have gone.
    pub(super) fn is_gone(&self) -> bool {
        self.orders.is_closed()
    }

    /// Has it end, and waits until it has; the last clone is to be ended.
    pub(super) async fn end(self) {
        let Self { orders, mut ended } = self;
        drop(orders);
        // The task that tells may have been dropped with its runtime.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// Passes orders on until nobody is left to give any, or the spawner has gone.
async fn serve(channel: Channel, mut child: Child, mut orders: mpsc::Receiver<Request>) {
    loop {
        let request = tokio::select! {
            request = orders.recv() => request,
            _ = child.wait() => break,
        };
        let Some((order, beside, answer)) = request else {
            break;
        };
        let beside: Vec<_> = beside.iter().map(|fd| fd.as_fd()).collect();
        if channel.send(&order, &beside).await.is_err() {
            break;
        }
        let Ok(Some((done, given))) = channel.receive().await else {
            break;
        };
        // Whoever asked may have given up; what was made for it is dropped then.
        let _ = answer.send(match done {
            Done::Done => Ok(given.into_iter().next()),
            Done::Failed(failure) => Err(failure),
        });
    }
    orders.close();
    // It ends its sandboxes and removes their groups, and goes; it is not killed before.
    drop(channel);
    let _ = child.wait().await;
}

//! A few shells, made ahead by a task of their own.
//!
//! Deliberately absent: how many are wanted; that is said once, when the platform starts.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::errors::ShellError;
use super::means::Modes;
use super::{Inner, Shell};

/// How long no shell is made for the stock after one could not be.
const PAUSE_MS: u64 = 500;

/// The shells that are ready.
#[derive(Debug)]
pub(super) struct Stock(Option<Mutex<mpsc::Receiver<Shell>>>);

impl Stock {
    /// Starts the task that keeps as many shells ready as the options say.
    pub(super) fn fill(inner: &Arc<Inner>, modes: Modes) -> Self {
        let most = inner.options.stock;
        if most == 0 {
            return Self(None);
        }
        let (ready, shells) = mpsc::channel(most);
        tokio::spawn(keep_full(Arc::downgrade(inner), modes, ready));
        Self(Some(Mutex::new(shells)))
    }

    /// A ready shell that still lives, if there is one.
    pub(super) async fn take(&self) -> Option<Shell> {
        let mut shells = self.0.as_ref()?.lock().await;
        // One whose spawner was killed is dropped, and another one is made in its place.
        while let Ok(shell) = shells.try_recv() {
            if shell.lives() {
                return Some(shell);
            }
        }
        None
    }

    /// Drops all shells; no more are made.
    pub(super) async fn empty(&self) {
        if let Some(shells) = &self.0 {
            let mut shells = shells.lock().await;
            shells.close();
            while shells.recv().await.is_some() {}
        }
    }
}

async fn keep_full(inner: Weak<Inner>, modes: Modes, ready: mpsc::Sender<Shell>) {
    // A place first, so that no shell is made which then has to wait for one.
    while let Ok(place) = ready.reserve().await {
        let Some(inner) = inner.upgrade() else {
            return;
        };
        match Shell::make(&inner, modes).await {
            Ok(shell) => place.send(shell),
            Err(ShellError::Closed) => return,
            Err(error) => {
                drop(place);
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "no sandbox could be made ahead"
                );
                drop(inner);
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(PAUSE_MS)) => {}
                    () = ready.closed() => return,
                }
            }
        }
    }
}

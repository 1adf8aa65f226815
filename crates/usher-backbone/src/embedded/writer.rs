//! The one thread that writes: it takes what is queued as a group, judges it, commits it in one
//! transaction, publishes it and answers.
//!
//! ```text
//!   Up ──commit fails──► Down ──reopened (at once, or with the next group)──► Up
//! ```
//!
//! Answers wait for the commit even where they refuse, for a refusal may rest on a write of the
//! same group.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use super::mirror::{Staged, Written};
use super::store::Store;
use super::{Shared, is_full};
use crate::key_value::{Op, WriteError};

/// How many batches share one transaction at most.
const GROUP_MAX_BATCHES: usize = 64;

/// A batch that waits to be written.
pub(super) struct Request {
    pub(super) batch: Vec<Op>,
    pub(super) reply: oneshot::Sender<Result<u64, WriteError>>,
}

type Answer = (
    oneshot::Sender<Result<u64, WriteError>>,
    Result<u64, WriteError>,
);

pub(super) struct Writer {
    store: Store,
    shared: Arc<Shared>,
    wake: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn new(store: Store, shared: Arc<Shared>, wake: watch::Sender<u64>) -> Self {
        Self {
            store,
            shared,
            wake,
        }
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX_BATCHES
                && let Ok(next) = requests.try_recv()
            {
                group.push(next);
            }
            for (reply, answer) in self.serve(group) {
                // A caller that has gone does not take its write back.
                let _gone = reply.send(answer);
            }
        }
    }

    fn serve(&mut self, group: Vec<Request>) -> Vec<Answer> {
        // Nothing of this group has been tried yet, so a failure here is certain.
        if self.store.is_down()
            && let Err(error) = self.recover()
        {
            return refuse(group, &failure(error));
        }
        let (answers, writes) = self.stage(group);
        if writes.is_empty() {
            return answers;
        }
        match self.store.commit(&writes) {
            Ok(()) => {
                self.publish(writes);
                answers
            }
            Err(error) => {
                let error = self.judge(error.into_io());
                tracing::error!(%error, "a write to the backbone's store failed");
                let failed = |(reply, _)| (reply, Err(error.clone()));
                answers.into_iter().map(failed).collect()
            }
        }
    }

    fn stage(&self, group: Vec<Request>) -> (Vec<Answer>, Vec<Written>) {
        let mirror = self.shared.mirror.read();
        let mut staged = Staged::on(&mirror);
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            answers.push((request.reply, staged.add(request.batch)));
        }
        (answers, staged.into_writes())
    }

    fn publish(&self, writes: Vec<Written>) {
        let revision = {
            let mut mirror = self.shared.mirror.write();
            mirror.publish(writes);
            mirror.revision()
        };
        self.wake.send_replace(revision);
    }

    /// What to answer when a commit has failed. Only a look at the file tells whether it is there.
    fn judge(&mut self, error: io::Error) -> WriteError {
        match self.recover() {
            Ok(Recovered::Unchanged) => failure(error),
            Ok(Recovered::Advanced) => WriteError::Io(Arc::new(error)),
            Err(down) => {
                tracing::error!(error = %down, "the backbone's store stays closed");
                WriteError::Io(Arc::new(error))
            }
        }
    }

    /// Opens the store anew. A group that failed may be in it after all; then it is published.
    fn recover(&mut self) -> io::Result<Recovered> {
        let loaded = self.store.reload().map_err(|error| error.into_io())?;
        let known = self.shared.mirror.read().revision();
        if loaded.revision < known {
            self.store.take_down();
            return Err(io::Error::other(format!(
                "the store is at revision {}, but {known} was acknowledged",
                loaded.revision
            )));
        }
        if loaded.revision == known {
            return Ok(Recovered::Unchanged);
        }
        let revision = loaded.revision;
        self.shared.mirror.write().replace(loaded);
        self.wake.send_replace(revision);
        Ok(Recovered::Advanced)
    }
}

/// What the file was found to hold.
enum Recovered {
    /// What was published.
    Unchanged,
    /// A group whose commit had failed.
    Advanced,
}

fn refuse(group: Vec<Request>, error: &WriteError) -> Vec<Answer> {
    let refused = |request: Request| (request.reply, Err(error.clone()));
    group.into_iter().map(refused).collect()
}

fn failure(error: io::Error) -> WriteError {
    if is_full(&error) {
        WriteError::DiskFull(Arc::new(error))
    } else {
        WriteError::Io(Arc::new(error))
    }
}

//! Whether new environments of an image are made like its first one, and the making.
//!
//! ```text
//! untried ─first snapshot→ cloned ─too many failures in a row→ started
//!            └ there is something that is not made again → started
//! ```
//!
//! A clone repeats what the first program's generators of random values would say, so it is told
//! that it was restored before it gets a request, as a program that was put back: only those are
//! cloned that are put back. Clones share their first one's layout of addresses and the secrets
//! that the C library keeps against overflows, which is why they are all of one revision.
//!
//! Deliberately absent: how a process is filled (`crate::renewal`).

use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::process::Pid;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cause::chain;
use crate::contract::lambda::NotRemembered;
use crate::renewal::{
    Filling, Given, Injected, NoPattern, NotCloned, Pattern, Snapshot, Surroundings,
};
use crate::restorable::{Restorable, Ways, pid, within};
use crate::restored::HookError;
use crate::sandbox::ShellError;
use crate::served::{Served, Spoken};
use crate::start::NotStarted;

/// Clones of a revision that failed, one after the other, before no other is tried.
const FAILURES_MAX: u32 = 4;
/// How long who fills a clone waits to be told that its program was launched, in milliseconds.
const LAUNCHED_WAIT_MAX_MS: u64 = 10_000;

/// See the module; shared by all environments of an image.
#[derive(Debug, Default)]
pub(crate) struct Clones(Mutex<Known>);

#[derive(Debug, Default)]
enum Known {
    #[default]
    Untried,
    Cloned {
        model: Arc<Model>,
        failures: u32,
    },
    Started(String),
}

/// What clones are made like.
#[derive(Debug)]
pub(crate) struct Model {
    pattern: Pattern,
    /// Whether they say that they make their randomness fresh when they are told.
    declared: bool,
    /// The call to the Runtime API that waits for its answer.
    call: Option<Bytes>,
}

/// Why programs are not cloned.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoModel {
    #[error("{}", chain(.0))]
    Pattern(#[from] NoPattern),
    #[error("it has {0} connections to the Runtime API, instead of one")]
    Connections(usize),
    #[error("its memory takes turns between devices")]
    Areas,
    #[error("its runtime is restored by hooks of its own")]
    Hooks,
    #[error("it could not be looked at")]
    Gone,
}

/// Why a clone could not be made. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloneError {
    #[error("{0}")]
    NotStarted(Box<NotStarted>),
    #[error("its process could not be found: {0}")]
    Missing(#[source] std::io::Error),
    #[error("{}", chain(.0))]
    NotCloned(#[from] NotCloned),
    #[error("{}", chain(.0))]
    NotRemembered(#[from] NotRemembered),
    #[error("{}", chain(.0))]
    Hook(#[from] HookError),
    #[error("the platform does not answer the calls of its filter")]
    Unanswered,
    #[error("its filling took too long, or was lost")]
    Stuck,
}

impl From<NotStarted> for CloneError {
    fn from(error: NotStarted) -> Self {
        Self::NotStarted(Box::new(error))
    }
}

impl From<ShellError> for CloneError {
    fn from(error: ShellError) -> Self {
        NotStarted::from(error).into()
    }
}

impl Clones {
    /// What clones are made like, if they are made.
    pub(crate) fn model(&self) -> Option<Arc<Model>> {
        match &*self.0.lock() {
            Known::Cloned { model, .. } => Some(model.clone()),
            _ => None,
        }
    }

    /// Whether nobody has tried yet.
    pub(crate) fn is_untried(&self) -> bool {
        matches!(&*self.0.lock(), Known::Untried)
    }

    /// Why new programs are started; none: they are cloned, or nobody knows yet.
    pub(crate) fn reason(&self) -> Option<String> {
        match &*self.0.lock() {
            Known::Started(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// The first program says for all.
    pub(crate) fn learn(&self, model: Result<Model, NoModel>) {
        let mut known = self.0.lock();
        if let Known::Untried = *known {
            *known = match model {
                Ok(model) => Known::Cloned {
                    model: Arc::new(model),
                    failures: 0,
                },
                Err(why) => Known::Started(chain(&why)),
            };
        }
    }

    /// One was made.
    pub(crate) fn succeeded(&self) {
        if let Known::Cloned { failures, .. } = &mut *self.0.lock() {
            *failures = 0;
        }
    }

    /// One was not; true if no other is tried.
    pub(crate) fn failed(&self, why: &str) -> bool {
        let mut known = self.0.lock();
        let Known::Cloned { failures, .. } = &mut *known else {
            return false;
        };
        *failures += 1;
        if *failures < FAILURES_MAX {
            return false;
        }
        let text = format!("{FAILURES_MAX} clones in a row failed, the last because {why}");
        *known = Known::Started(text);
        true
    }
}

impl Model {
    /// What clones of a program are made like that has a snapshot and has served nothing. After an
    /// error that spares it the program can go on.
    pub(crate) async fn of(served: &mut Served) -> Result<Self, (NoModel, bool)> {
        if served.contract.has_hooks() {
            return Err((NoModel::Hooks, true));
        }
        let call = match &served.contract {
            Spoken::Http(_) => None,
            Spoken::Lambda(api) => match <[Bytes; 1]>::try_from(api.calls()) {
                Ok([call]) => Some(call),
                Err(calls) => return Err((NoModel::Connections(calls.len()), true)),
            },
        };
        let process = pid(&served.program).map_err(|_| (NoModel::Gone, true))?;
        let restorable = served.restorable.take();
        let restorable = restorable.ok_or((NoModel::Gone, true))?;
        let declared = restorable.is_declared();
        let given = served.program.given().to_vec();
        let deriving = spawn_blocking(move || {
            let pattern = restorable.snapshot().pattern(process, &given);
            (restorable, pattern)
        });
        let derived = within(&served.program, deriving).await;
        let (restorable, pattern) = derived.ok_or((NoModel::Gone, false))?;
        served.restorable = Some(restorable);
        let pattern = pattern.map_err(|error| {
            let spared = error.spares_program();
            (error.into(), spared)
        })?;
        let connections = pattern.connections();
        if connections != usize::from(call.is_some()) {
            return Err((NoModel::Connections(connections), true));
        }
        Ok(Self {
            pattern,
            declared,
            call,
        })
    }

    /// What a process executes that is to be filled.
    pub(crate) fn executes(&self) -> &str {
        self.pattern.executes()
    }
}

/// A clone on its way: a thread holds its process, and fills it when it has executed.
pub(crate) struct Begun {
    model: Arc<Model>,
    around: mpsc::Sender<(Surroundings, Vec<Given>)>,
    filling: JoinHandle<Result<Snapshot, NotCloned>>,
}

impl Begun {
    /// Takes hold of the process that will become the program.
    pub(crate) async fn seize(
        process: Pid,
        model: &Arc<Model>,
        injected: &Arc<Injected>,
    ) -> Result<Self, CloneError> {
        let (around, told) = mpsc::channel();
        let (seized, held) = oneshot::channel();
        let (filled, injected) = (model.clone(), injected.clone());
        let filling = spawn_blocking(move || {
            let filling = Filling::seize(process)?;
            // If nobody waits any more, nobody will tell what is around it either.
            let _ = seized.send(());
            let wait = Duration::from_millis(LAUNCHED_WAIT_MAX_MS);
            let around = || told.recv_timeout(wait).ok();
            filling.fill(&filled.pattern, around, &injected)
        });
        if held.await.is_err() {
            return Err(match filling.await {
                Ok(Err(error)) => error.into(),
                _ => CloneError::Stuck,
            });
        }
        Ok(Self {
            model: model.clone(),
            around,
            filling,
        })
    }

    /// Waits until the launched program is like the first one, and tells it so.
    pub(crate) async fn finish(self, served: &mut Served, ways: Ways) -> Result<(), CloneError> {
        let Self {
            model,
            around,
            filling,
        } = self;
        let program = &served.program;
        let found = match program.lay() {
            true => program.surroundings().map_err(CloneError::Missing),
            false => Err(CloneError::Unanswered),
        };
        // Whoever is not there any more says why below.
        let unfound = match found {
            Ok(surroundings) => {
                let _ = around.send((surroundings, program.given().to_vec()));
                None
            }
            Err(error) => Some(error),
        };
        drop(around);
        let filled = within(program, filling).await.ok_or(CloneError::Stuck)?;
        let snapshot = match (filled, unfound) {
            // A program that has gone is not found, and was ended for another reason.
            (Err(NotCloned::Abandoned), Some(error)) => return Err(error),
            (filled, _) => filled?,
        };
        let snapshot = snapshot.with_page(program.page());
        if let (Spoken::Lambda(api), Some(call)) = (&mut served.contract, &model.call) {
            api.adopt(call.clone()).await?;
        }
        let hook = served.hook.take();
        let restorable = Restorable::cloned(snapshot, ways, hook, model.declared).await?;
        served.restorable = Some(Box::new(restorable));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_cloned_is_known_by_its_first_reason() {
        let clones = Clones::default();
        assert!(clones.is_untried() && clones.model().is_none());
        clones.learn(Err(NoModel::Connections(2)));
        clones.learn(Err(NoModel::Gone));
        assert!(!clones.is_untried() && clones.model().is_none());
        let reason = clones.reason().unwrap_or_default();
        assert!(reason.contains("2 connections"), "{reason}");
        assert!(!clones.failed("of nothing"));
    }
}

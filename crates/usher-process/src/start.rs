//! Starting a program: from an empty sandbox to a program that is ready for a call.
//!
//! ```text
//! shell ─► listeners served ─► launch ─► ready ─► warm
//!                                │  └ reported an error, exited, took too long: not started
//!                                └ no such program, not executable: not started
//! ```
//!
//! Deliberately absent: the launching (`launch`), and what a failed start means for whoever waits
//! (`engine`, `environment`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use usher_core::fault::Fault;
use usher_engine::phases::Phase;

use crate::cause::chain;
use crate::cloned::{Begun, CloneError, Model, NoModel};
use crate::contract::lambda::{FunctionError, InitError, RestoreError};
use crate::contract::port::NotReady;
use crate::engine::Inner;
use crate::failure::ended;
use crate::image::ProcessImage;
use crate::launch::{launch, run_in, surround};
use crate::restorable::Restorable;
use crate::sandbox::{Exit, LaunchError, ShellError};
use crate::served::{NotRestored, REASON_MAX_MS, Served, Spoken};
use crate::warm_up::warm_up;

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    #[error("programs cannot run on this machine: {0}; `usher doctor` tells more")]
    NoSandboxes(String),
    #[error("no sandbox could be had: {}", chain(.0))]
    Shell(#[from] ShellError),
    #[error("a listener of the sandbox could not be used: {0}")]
    Listener(#[source] std::io::Error),
    #[error("the socket of the restored hook could not be made: {0}")]
    Hook(#[source] std::io::Error),
    #[error("{}", chain(.0))]
    Launch(#[from] LaunchError),
    #[error(
        "its initialisation failed: {}{}",
        String::from_utf8_lossy(&.error.body), said(.told)
    )]
    Init { error: FunctionError, told: String },
    #[error("{}{}", of_restore(.error), said(.told))]
    Restore { error: NotRestored, told: String },
    #[error("the program {} before it was ready{}", ended(.exit), said(.told))]
    Exited { exit: Exit, told: String },
    #[error("{}{}", chain(.source), said(.told))]
    Unreachable { source: NotReady, told: String },
    #[error(
        "the program was not ready within limits.start_max_ms = {start_max_ms}: {missing}{}",
        said(.told)
    )]
    Late {
        start_max_ms: u64,
        missing: &'static str,
        told: String,
    },
    #[error("its warm-up request {request} {why}{}", said(.told))]
    WarmUp {
        request: String,
        why: String,
        told: String,
    },
    #[error("the Runtime API ended before the program was ready{}", said(.told))]
    Api { told: String },
}

fn said(told: &str) -> String {
    match told {
        "" => "; it wrote nothing".to_owned(),
        told => format!("; it wrote:\n{told}"),
    }
}

/// Why it was not restored, with the function's own words.
fn of_restore(error: &NotRestored) -> String {
    match error {
        NotRestored::Api(RestoreError::Reported(told)) => {
            format!("{error}: {}", String::from_utf8_lossy(&told.body))
        }
        other => other.to_string(),
    }
}

impl NotStarted {
    /// Whose fault it is.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NoSandboxes(_)
            | Self::Shell(_)
            | Self::Listener(_)
            | Self::Hook(_)
            | Self::Exited {
                exit: Exit::Lost(_),
                ..
            } => Fault::Unavailable,
            Self::Launch(
                LaunchError::Invalid(_) | LaunchError::TooLong { .. } | LaunchError::Program { .. },
            )
            | Self::Init { .. }
            | Self::Restore { .. }
            | Self::Exited { .. }
            | Self::Unreachable { .. }
            | Self::WarmUp { .. }
            | Self::Late { .. }
            | Self::Api { .. } => Fault::StartFailed,
            Self::Launch(_) => Fault::Unavailable,
        }
    }
}

impl NotStarted {
    /// Whether what makes sandboxes went away in between, so that another try may do.
    fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Shell(ShellError::Step(_) | ShellError::Socket(_))
                | Self::Launch(LaunchError::Lost | LaunchError::Socket(_))
        )
    }

    /// Whether the program was running and its own initialisation failed.
    pub(crate) fn is_init(&self) -> bool {
        matches!(
            self,
            Self::Init { .. } | Self::Restore { .. } | Self::Exited { .. } | Self::Late { .. }
        )
    }
}

/// Starts a program of an image, or makes one like the first; on return it is ready for a call, and
/// can be put back afterwards if programs of the image are. Dropping the future ends it.
pub(crate) async fn start(inner: &Inner, image: &Arc<ProcessImage>) -> Result<Served, NotStarted> {
    if let Some(model) = image.clones.model().filter(|_| image.is_put_back()) {
        let begun = std::time::Instant::now();
        match clone(inner, image, &model).await {
            Ok(served) => {
                inner.counters.phases.since(Phase::Clone, begun);
                image.clones.succeeded();
                inner.counters.cloned.fetch_add(1, Ordering::Relaxed);
                return Ok(served);
            }
            Err(error) => not_cloned(inner, image, &error),
        }
    }
    let served = with_snapshot(inner, image).await?;
    let restored = served.contract.restored(&served.program).await;
    restored.map_err(|error| NotStarted::Restore {
        error,
        told: served.output.told(),
    })?;
    Ok(served)
}

/// Starts a program, and takes its snapshot if programs of the image are put back. One that waits
/// to be restored still does.
async fn with_snapshot(inner: &Inner, image: &Arc<ProcessImage>) -> Result<Served, NotStarted> {
    let mut served = started(inner, image).await?;
    if !image.is_put_back() {
        return Ok(served);
    }
    let hook = served.hook.take();
    let (program, contract) = (&served.program, &mut served.contract);
    let begun = std::time::Instant::now();
    let restorable = Restorable::of(program, contract, hook, image, &inner.injected);
    let error = match restorable.await {
        Ok(restorable) => {
            inner.counters.phases.since(Phase::Snapshot, begun);
            image.renewable.taken();
            served.restorable = Some(Box::new(restorable));
            return learnt(inner, image, served).await;
        }
        Err(error) => error,
    };
    if let Some(exit) = served.exited().filter(|_| error.spares_program()) {
        let told = served.output.told();
        return Err(NotStarted::Exited { exit, told });
    }
    let function = &image.revision.function;
    tracing::info!(%function, %error, "a program cannot be put back, and is replaced instead");
    image.renewable.not_taken(error.to_string());
    match error.spares_program() {
        true => Ok(served),
        false => {
            drop(served);
            started(inner, image).await
        }
    }
}

/// The program, after others can be made like it if it is the first.
async fn learnt(
    inner: &Inner,
    image: &Arc<ProcessImage>,
    mut served: Served,
) -> Result<Served, NotStarted> {
    if !image.clones.is_untried() {
        return Ok(served);
    }
    if image.areas.is_some() {
        image.clones.learn(Err(NoModel::Areas));
        return Ok(served);
    }
    let (model, spared) = match Model::of(&mut served).await {
        Ok(model) => (Ok(model), true),
        Err((error, spared)) => (Err(error), spared),
    };
    if let Err(error) = &model {
        let function = &image.revision.function;
        let why = chain(error);
        tracing::info!(%function, why, "programs are started and not cloned");
        *inner.counters.latest_not_cloned.lock() = Some(why);
    }
    image.clones.learn(model);
    match spared {
        true => Ok(served),
        false => {
            drop(served);
            started(inner, image).await
        }
    }
}

/// A program made like the first one of its image.
async fn clone(
    inner: &Inner,
    image: &Arc<ProcessImage>,
    model: &Arc<Model>,
) -> Result<Served, CloneError> {
    let ready = surround(inner, image).await?;
    let process = ready.shell.seed().map_err(CloneError::Missing)?;
    let begun = Begun::seize(process, model, &inner.injected).await?;
    // None of it is ever read: words and variables are those of the first program.
    let command = vec![model.executes().to_owned()];
    let mut served = run_in(ready, image, command, Vec::new()).await?;
    begun.finish(&mut served, image.ways).await?;
    Ok(served)
}

/// Tells that a program could not be cloned, and is started.
fn not_cloned(inner: &Inner, image: &ProcessImage, error: &CloneError) {
    let (function, why) = (&image.revision.function, error.to_string());
    tracing::debug!(%function, why, "a program could not be cloned, and is started");
    if image.clones.failed(&why) {
        tracing::warn!(%function, why, "programs are started from now on, and not cloned");
    }
    inner.counters.not_cloned.fetch_add(1, Ordering::Relaxed);
    *inner.counters.latest_not_cloned.lock() = Some(why);
}

/// Starts a program, waits until it is ready, and warms it up.
pub(crate) async fn started(
    inner: &Inner,
    image: &Arc<ProcessImage>,
) -> Result<Served, NotStarted> {
    inner.counters.started.fetch_add(1, Ordering::Relaxed);
    let mut launched = launch(inner, image).await;
    if launched.as_ref().is_err_and(NotStarted::is_passing) {
        launched = launch(inner, image).await;
    }
    let served = launched?;
    let start_max_ms = image.revision.settings.limits.start_max_ms;
    let deadline = Instant::now() + Duration::from_millis(start_max_ms);
    let told = served.output.told_later();
    let late = |missing| NotStarted::Late {
        start_max_ms,
        missing,
        told: told(),
    };
    let phases = &inner.counters.phases;
    let begun = std::time::Instant::now();
    match timeout_at(deadline, ready(&served)).await {
        Ok(ready) => {
            ready?;
            phases.since(Phase::Ready, begun);
        }
        Err(_) => {
            return Err(late(match served.contract {
                Spoken::Lambda(_) => "it has not asked the Runtime API for an event",
                Spoken::Http(_) => "it does not listen at $PORT",
            }));
        }
    }
    if image.process.snap_start && !served.contract.has_hooks() {
        let function = &image.revision.function;
        tracing::info!(
            %function,
            "the runtime has not asked to be restored, though the manifest says snap_start; it is \
             served as if that were not said"
        );
    }
    let begun = std::time::Instant::now();
    let warm = timeout_at(deadline, warm_up(served, image)).await;
    if matches!(warm, Ok(Ok(_))) && !image.revision.settings.warm_up.is_empty() {
        phases.since(Phase::WarmUp, begun);
    }
    warm.unwrap_or_else(|_| Err(late("its warm-up requests are not all answered")))
}

/// Waits until the program is ready. Where it has reported an error and exited, the report is the
/// better reason.
async fn ready(served: &Served) -> Result<(), NotStarted> {
    let told = || served.output.told();
    match &served.contract {
        Spoken::Lambda(api) => {
            let failed = |error| match error {
                InitError::Reported(error) => NotStarted::Init {
                    error,
                    told: told(),
                },
                InitError::Closed => NotStarted::Api { told: told() },
            };
            tokio::select! {
                biased;
                ready = api.ready() => ready.map_err(failed),
                exit = served.program.exited() => {
                    let reported = timeout(Duration::from_millis(REASON_MAX_MS), api.ready());
                    match reported.await {
                        Ok(Err(InitError::Reported(error))) => {
                            Err(NotStarted::Init { error, told: told() })
                        }
                        _ => Err(NotStarted::Exited { exit, told: told() }),
                    }
                }
            }
        }
        Spoken::Http(client) => tokio::select! {
            biased;
            exit = served.program.exited() => Err(NotStarted::Exited { exit, told: told() }),
            ready = client.ready() => {
                ready.map_err(|source| NotStarted::Unreachable { source, told: told() })
            }
        },
    }
}

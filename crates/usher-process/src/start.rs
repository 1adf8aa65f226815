//! Starting a program: from an empty sandbox to a program that is ready for a call.
//!
//! ```text
//! shell ─► listeners served ─► launch ─► ready
//!                                │  └ reported an error, exited, took too long: not started
//!                                └ no such program, not executable: not started
//! ```
//!
//! Deliberately absent: what a failed start means for whoever waits (`engine`, `environment`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use usher_core::fault::Fault;
use usher_core::function::Contract;

use crate::cause::chain;
use crate::cloned::{Begun, CloneError, Model};
use crate::contract::lambda::{FunctionError, InitError, LambdaApi};
use crate::contract::port::{NotReady, PortClient};
use crate::engine::Inner;
use crate::failure::ended;
use crate::image::ProcessImage;
use crate::outbound::{Proxy, ProxyBounds, outbound_environment};
use crate::output::Output;
use crate::renewable::Restorable;
use crate::restored::{Hook, restored_environment};
use crate::sandbox::{Exit, Launch, LaunchError, Shell, ShellError};
use crate::served::{Reach, Served, Spoken};

/// The port that programs of the HTTP contract are told to listen at.
const PORT: u16 = 8080;
/// How long it may take to learn that a program has exited which reported why it cannot start, or
/// the other way round, in milliseconds.
const REASON_MAX_MS: u64 = 100;

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
    #[error("the Runtime API ended before the program was ready{}", said(.told))]
    Api { told: String },
}

fn said(told: &str) -> String {
    match told {
        "" => "; it wrote nothing".to_owned(),
        told => format!("; it wrote:\n{told}"),
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
            | Self::Exited { .. }
            | Self::Unreachable { .. }
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
            Self::Init { .. } | Self::Exited { .. } | Self::Late { .. }
        )
    }
}

/// Starts a program of an image, or makes one like the first; on return it is ready for a call, and
/// can be put back afterwards if programs of the image are. Dropping the future ends it.
pub(crate) async fn start(inner: &Inner, image: &Arc<ProcessImage>) -> Result<Served, NotStarted> {
    if let Some(model) = image.clones.model().filter(|_| image.is_put_back()) {
        match clone(inner, image, &model).await {
            Ok(served) => {
                image.clones.succeeded();
                inner.counters.cloned.fetch_add(1, Ordering::Relaxed);
                return Ok(served);
            }
            Err(error) => not_cloned(inner, image, &error),
        }
    }
    let mut served = started(inner, image).await?;
    if !image.is_put_back() {
        return Ok(served);
    }
    let hook = served.hook.take();
    let (program, contract) = (&served.program, &mut served.contract);
    let reuse = image.process.reuse;
    let restorable = Restorable::of(program, contract, hook, reuse, &inner.injected);
    let error = match restorable.await {
        Ok(restorable) => {
            image.renewable.taken();
            served.restorable = Some(restorable);
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
    begun.finish(&mut served).await?;
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

/// Starts a program and waits until it is ready.
async fn started(inner: &Inner, image: &Arc<ProcessImage>) -> Result<Served, NotStarted> {
    inner.counters.started.fetch_add(1, Ordering::Relaxed);
    let mut launched = launch(inner, image).await;
    if launched.as_ref().is_err_and(NotStarted::is_passing) {
        launched = launch(inner, image).await;
    }
    let served = launched?;
    let start_max_ms = image.revision.settings.limits.start_max_ms;
    match timeout(Duration::from_millis(start_max_ms), ready(&served)).await {
        Ok(Ok(())) => Ok(served),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(NotStarted::Late {
            start_max_ms,
            missing: match served.contract {
                Spoken::Lambda(_) => "it has not asked the Runtime API for an event",
                Spoken::Http(_) => "it does not listen at $PORT",
            },
            told: served.output.told(),
        }),
    }
}

/// A shell, with what its program needs served around it.
struct Surrounded {
    shell: Shell,
    output: Output,
    proxy: Option<Proxy>,
    api: Option<LambdaApi>,
    environment: Vec<(String, String)>,
    hook: Option<Hook>,
}

/// Launches a program in a sandbox, with whatever it needs served around it.
async fn launch(inner: &Inner, image: &Arc<ProcessImage>) -> Result<Served, NotStarted> {
    let mut surrounded = surround(inner, image).await?;
    let environment = std::mem::take(&mut surrounded.environment);
    run_in(
        surrounded,
        image,
        image.process.command_at(PORT),
        environment,
    )
    .await
}

async fn surround(inner: &Inner, image: &Arc<ProcessImage>) -> Result<Surrounded, NotStarted> {
    let sandboxes = inner.sandboxes().await;
    let sandboxes = sandboxes.map_err(|why| NotStarted::NoSandboxes(why.to_owned()))?;
    let mut shell = sandboxes.shell().await?;
    let output = Output::default();
    let proxy = proxy(&mut shell, image, &output)?;
    let api = match image.process.contract {
        Contract::Lambda => {
            let listener = listener(shell.take_api_listener())?;
            Some(LambdaApi::serve(listener, image.about()))
        }
        Contract::Http => None,
    };
    let mut environment = image.environment(PORT);
    environment.extend(outbound_environment(&image.allowed));
    let hook = if image.is_put_back() && sandboxes.has_shims() {
        let (hook, end) = Hook::pair().map_err(NotStarted::Hook)?;
        shell.give_hook(end);
        restored_environment(&mut environment);
        Some(hook)
    } else {
        None
    };
    Ok(Surrounded {
        shell,
        output,
        proxy,
        api,
        environment,
        hook,
    })
}

/// Launches a program in a shell.
async fn run_in(
    surrounded: Surrounded,
    image: &Arc<ProcessImage>,
    command: Vec<String>,
    environment: Vec<(String, String)>,
) -> Result<Served, NotStarted> {
    let Surrounded {
        shell,
        mut output,
        proxy,
        api,
        hook,
        ..
    } = surrounded;
    let launch = Launch {
        folder: image.folder.path().to_owned(),
        command,
        environment,
        bounds: image.bounds(),
    };
    let mut program = shell.launch(launch).await?;
    output.follow(program.take_output(), program.take_denials());
    let program = Arc::new(program);
    let contract = match api {
        Some(api) => Spoken::Lambda(Box::new(api)),
        None => {
            let reach = Arc::new(Reach(Arc::downgrade(&program)));
            let idle_max_ms = image.revision.settings.limits.idle_max_ms;
            let client = PortClient::new(reach, PORT);
            let client = client.tunnel_idle_max(Duration::from_millis(idle_max_ms));
            let client = match image.keeps() {
                true => client,
                false => client.never_reuse(),
            };
            Spoken::Http(Box::new(client))
        }
    };
    Ok(Served {
        contract,
        output,
        program,
        hook,
        restorable: None,
        _proxy: proxy,
        _folder: image.folder.clone(),
    })
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

fn listener(listener: Option<std::net::TcpListener>) -> Result<TcpListener, NotStarted> {
    let missing = || std::io::Error::other("the sandbox has none left");
    let listener = listener.ok_or_else(|| NotStarted::Listener(missing()))?;
    listener
        .set_nonblocking(true)
        .map_err(NotStarted::Listener)?;
    TcpListener::from_std(listener).map_err(NotStarted::Listener)
}

/// The way out, where the function's list names any.
fn proxy(
    shell: &mut Shell,
    image: &ProcessImage,
    output: &Output,
) -> Result<Option<Proxy>, NotStarted> {
    if image.allowed.is_empty() {
        return Ok(None);
    }
    let listener = listener(shell.take_proxy_listener())?;
    let bounds = ProxyBounds::default();
    Ok(Some(Proxy::serve(
        listener,
        image.allowed.clone(),
        bounds,
        output.teller(),
    )))
}

//! Launching: a program in a sandbox of its own, with whatever it needs served around it.
//!
//! ```text
//! shell ─► way out, Runtime API, hook ─► launched: its output is read, and it can be spoken to
//! ```
//!
//! Deliberately absent: whether it comes to be ready (`start`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use usher_core::function::Contract;
use usher_engine::phases::Phase;

use crate::contract::lambda::LambdaApi;
use crate::contract::port::PortClient;
use crate::engine::Inner;
use crate::image::ProcessImage;
use crate::outbound::{Proxy, ProxyBounds, outbound_environment};
use crate::output::Output;
use crate::restored::{Hook, restored_environment};
use crate::sandbox::{Launch, Shell};
use crate::served::{Reach, Served, Spoken};
use crate::start::NotStarted;

/// The port that programs of the HTTP contract are told to listen at.
const PORT: u16 = 8080;

/// A shell, with what its program needs served around it.
pub(crate) struct Surrounded {
    pub(crate) shell: Shell,
    output: Output,
    proxy: Option<Proxy>,
    api: Option<LambdaApi>,
    environment: Vec<(String, String)>,
    hook: Option<Hook>,
}

/// Launches a program in a sandbox, with whatever it needs served around it.
pub(crate) async fn launch(inner: &Inner, image: &Arc<ProcessImage>) -> Result<Served, NotStarted> {
    let phases = &inner.counters.phases;
    let begun = Instant::now();
    let mut surrounded = surround(inner, image).await?;
    phases.since(Phase::Sandbox, begun);
    let environment = std::mem::take(&mut surrounded.environment);
    let (command, begun) = (image.process.command_at(PORT), Instant::now());
    let served = run_in(surrounded, image, command, environment).await?;
    phases.since(Phase::Launch, begun);
    Ok(served)
}

pub(crate) async fn surround(
    inner: &Inner,
    image: &Arc<ProcessImage>,
) -> Result<Surrounded, NotStarted> {
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
pub(crate) async fn run_in(
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
        secrets: image.secrets(),
        bounds: image.bounds(),
    };
    let mut program = shell.launch(launch).await?;
    output.follow(program.take_output(), program.take_denials());
    let program = Arc::new(program);
    image.programs.add(&program);
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

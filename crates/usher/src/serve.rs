//! `usher serve`: one function in the foreground, at `/` of any host, on throw-away data.
//!
//! What the function writes and what goes wrong in it is shown on standard error. The API listens
//! on a free port of this machine, for `usher logs` and the metrics.

use std::process::ExitCode;

use futures_util::StreamExt;
use usher_api::client::Client;
use usher_api::http::{DeployRequest, Deployed};
use usher_api::node::LogQuery;
use usher_core::id::{FunctionKey, Name};

use crate::cli::Serve;
use crate::deploy::Spinner;
use crate::platform::{Platform, Routing, Settings};
use crate::signals::Signals;
use crate::source::Source;
use crate::{deploy, logs, up};

/// Serves the function until a signal ends it.
pub(crate) async fn run(serve: Serve, json: bool) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let source = Source::read(&serve.path, None)?;
    deploy::tell_recognised(&source);
    let platform = Platform::start(Settings {
        gateway: serve.listen,
        routing: Routing::Single,
        tuning: serve.tuning,
        ..Settings::throw_away()
    })
    .await?;
    let begun = tokio::select! {
        begun = begin(&platform, source, json) => begun,
        () = signals.next() => return Ok(up::stop(platform, &mut signals).await),
    };
    if let Err(error) = begun {
        up::stop(platform, &mut signals).await;
        return Err(error);
    }
    signals.next().await;
    Ok(up::stop(platform, &mut signals).await)
}

async fn begin(platform: &Platform, source: Source, json: bool) -> anyhow::Result<()> {
    let client = platform.client()?;
    let function = FunctionKey {
        owner: Name::default_owner(),
        name: source.name.clone(),
    };
    let deployed = put(&client, source).await?;
    for reason in deploy::reasons(&deployed.function) {
        let mode = deploy::mode_word(&deployed.function);
        eprintln!("usher: served {mode}: {reason}");
    }
    for note in deploy::notes(&deployed.function) {
        eprintln!("usher: {note}");
    }
    // Its own task, as the log ends only with the platform.
    tokio::spawn(show_log(client, function));
    platform.serve_single(deployed.function.revision);
    up::tell_ready(platform, json)
}

async fn put(client: &Client, source: Source) -> anyhow::Result<Deployed> {
    let spinner = Spinner::new();
    spinner.says("storing");
    let stored = client.put_artifact(source.artifact).await?;
    let request = DeployRequest {
        owner: None,
        name: source.name,
        artifact: stored.digest,
        settings: source.settings,
    };
    let progress = |progress: usher_api::node::Progress| spinner.says(&progress.step);
    Ok(client.deploy(&request, progress).await?)
}

async fn show_log(client: Client, function: FunctionKey) {
    let query = LogQuery {
        follow: true,
        quiet: true,
        ..LogQuery::default()
    };
    let mut lines = match client.logs(&function, &query).await {
        Ok(lines) => lines,
        Err(error) => return tracing::warn!(%error, "the function's log is not shown"),
    };
    while let Some(Ok(line)) = lines.next().await {
        eprintln!("{}", logs::text(&line));
    }
}

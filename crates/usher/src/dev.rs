//! `usher dev`: one function in the foreground while it is written, on throw-away data.
//!
//! ```text
//!  browser ─► front ──held until what was saved is served──► gateway ─► function
//!               ▲ stage: serving, failed
//!  editor ─► watch ─► cycle: tree ─► attempt: build, deploy ─► terminal
//! ```
//!
//! A request that comes after a file was saved meets what was saved, or a page that says what is
//! wrong with it.
//!
//! Deliberately absent: other functions, and a platform that is there already.

mod attempt;
mod cycle;
mod forward;
mod front;
mod live;
mod page;
mod report;
mod rules;
mod stage;
mod terminal;
mod tree;
mod watch;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use serde_json::json;

use crate::cli::Dev;
use crate::platform::{Platform, Routing, Settings};
use crate::signals::Signals;
use crate::{output, up};

use attempt::Attempt;
use cycle::{Cycle, Project};
use front::Front;
use stage::{Gate, Stage};
use terminal::Terminal;
use watch::Watcher;

/// Serves the function and its changes until a signal ends it.
pub(crate) async fn run(dev: Dev, json: bool) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let project = Project::at(&dev.path)?;
    let front = Front::bind(dev.listen).await?;
    let watcher = Watcher::new().context(
        "changes of files cannot be noticed; raise fs.inotify.max_user_instances, or end what \
         watches files",
    )?;
    let platform = Platform::start(Settings {
        routing: Routing::Single,
        tuning: dev.tuning.clone(),
        ..Settings::throw_away()
    })
    .await?;
    let ended = tokio::select! {
        ended = serve(dev, json, project, front, Arc::new(watcher), &platform) => ended,
        () = signals.next() => Ok(()),
    };
    let code = up::stop(platform, &mut signals).await;
    ended.map(|()| code)
}

async fn serve(
    dev: Dev,
    json: bool,
    project: Project,
    front: Front,
    watcher: Arc<Watcher>,
    platform: &Platform,
) -> anyhow::Result<()> {
    tell_ready(front.local_addr()?, platform, json)?;
    let (stage, staged) = tokio::sync::watch::channel(Stage::first());
    let gate = Gate::new(Arc::clone(&watcher), staged);
    let cycle = Cycle {
        terminal: Terminal {
            json,
            folder: project.folder().to_owned(),
        },
        project,
        watcher: Arc::clone(&watcher),
        stage,
        attempt: Attempt::new(platform, dev.env),
    };
    tokio::select! {
        ended = cycle.run() => ended,
        () = watcher.pump() => Ok(()),
        () = front.serve(platform.gateway, gate, dev.live_reload) => Ok(()),
    }
}

/// Says where it answers; a request that comes before the first build has ended waits for it.
fn tell_ready(listen: SocketAddr, platform: &Platform, json: bool) -> anyhow::Result<()> {
    if json {
        let api = platform.api;
        return output::json(&json!({ "ready": true, "gateway": listen, "api": api }));
    }
    output::line(format!("usher dev: http://{listen}, Ctrl-C ends it"))?;
    Ok(())
}

//! `usher up`: the platform, until it is asked to stop.
//!
//! ```text
//!  starting ─► ready (addresses told) ─signal→ stopping ─► ended
//!      └──────────────signal──────────────────────┴─signal→ ended at once
//! ```

use std::process::ExitCode;

use anyhow::Context;
use serde::Serialize;

use crate::cli::Up;
use crate::platform::{Platform, Routing, Settings};
use crate::signals::Signals;
use crate::{bundled, folders, output, tls};

/// The exit code of a platform that was not let finish.
const CUT_OFF: u8 = 130;

/// Where a platform answers.
#[derive(Serialize)]
struct ReadyLine {
    ready: bool,
    gateway: String,
    gateway_tls: Option<String>,
    api: String,
}

/// Runs the platform until a signal ends it.
pub(crate) async fn run(up: Up, json: bool) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let data = match (up.data, up.demo) {
        (None, true) => None,
        (None, false) => Some(folders::data().context(
            "no folder for data is known, as HOME is not set; name one with --data DIR",
        )?),
        (named, _) => named,
    };
    let settings = Settings {
        data,
        gateway: up.gateway,
        tls: tls::wanted(up.tls, up.gateway)?,
        api: up.api,
        insecure_api: up.insecure_api,
        api_names: up.api_name,
        domain: up.domain,
        routing: Routing::Named,
        brisk: false,
        tuning: up.tuning,
    };
    let platform = tokio::select! {
        platform = Platform::start(settings) => platform?,
        () = signals.next() => return Ok(ExitCode::from(CUT_OFF)),
    };
    if up.demo {
        let deployed = tokio::select! {
            deployed = bundled::deploy_all(&platform) => deployed,
            () = signals.next() => return Ok(stop(platform, &mut signals).await),
        };
        if let Err(error) = deployed {
            stop(platform, &mut signals).await;
            return Err(error.context("the bundled examples were not deployed"));
        }
    }
    tell_ready(&platform, json)?;
    if !json && up.demo {
        let gateway = platform.gateway;
        output::line(format!("  try      curl http://{gateway}/fn/hello/"))?;
    }
    signals.next().await;
    Ok(stop(platform, &mut signals).await)
}

/// Says where the platform answers.
pub(crate) fn tell_ready(platform: &Platform, json: bool) -> anyhow::Result<()> {
    let (gateway, api) = (platform.gateway, platform.api);
    if json {
        return output::json(&ReadyLine {
            ready: true,
            gateway: gateway.to_string(),
            gateway_tls: platform.gateway_tls.map(|address| address.to_string()),
            api: api.to_string(),
        });
    }
    let secure = platform.gateway_tls;
    let secure = secure.map_or_else(String::new, |at| format!("\n  tls      https://{at}"));
    output::line(format!(
        "usher is ready\n  gateway  http://{gateway}{secure}\n  api      http://{api}"
    ))?;
    Ok(())
}

/// Ends the platform in its order, or at once where a further signal insists.
pub(crate) async fn stop(platform: Platform, signals: &mut Signals) -> ExitCode {
    tokio::select! {
        () = platform.stop() => ExitCode::SUCCESS,
        () = signals.next() => ExitCode::from(CUT_OFF),
    }
}

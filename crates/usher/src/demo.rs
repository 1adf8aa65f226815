//! `usher demo`: everything on free ports with throw-away data, the mechanisms proven on the
//! bundled functions, and the end. It succeeds only if every check held.
//!
//! Where the machine permits no sandbox, one finding says so in the place of those about programs.
//!
//! Deliberately absent: judging speed, which is shown; `cargo xtask bench` judges it beside peers.

mod checks;
mod finding;
mod programs;
mod speed;

use std::net::SocketAddr;
use std::process::ExitCode;

use usher_api::client::Client;
use usher_core::function::{Isolation, Settings};

use crate::bundled::{self, Bundled};
use crate::call::Caller;
use crate::deploy::{Spinner, mode_word};
use crate::output;
use crate::platform::{self, Platform};
use crate::signals::Signals;
use crate::up;
use finding::Finding;

/// How long the demo's endless run may take until it is ended, in milliseconds.
const ENDLESS_MAX_MS: u64 = 500;

/// The functions of the demo, and how they are called.
struct Stage {
    gateway: SocketAddr,
    caller: Caller,
    json: bool,
    failed: bool,
}

/// Runs the demo; a signal ends it early, as a failure.
pub(crate) async fn run(json: bool) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let platform = Platform::start(platform::Settings::throw_away()).await?;
    let shown = tokio::select! {
        shown = show(&platform, json) => Some(shown),
        () = signals.next() => None,
    };
    up::stop(platform, &mut signals).await;
    let held = shown.transpose()?.unwrap_or(false);
    Ok(match held {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Deploys, checks and tells; whether all held.
async fn show(platform: &Platform, json: bool) -> anyhow::Result<bool> {
    let no_program = bundled::no_program(platform).await;
    deploy(&platform.client()?, no_program.is_none(), json).await?;
    let mut stage = Stage {
        gateway: platform.gateway_within(),
        caller: Caller::new(),
        json,
        failed: false,
    };
    stage.part("Functions answer, and fast")?;
    stage.tell(checks::answers(&stage).await?)?;
    for figure in speed::measure(&stage).await? {
        stage.tell(figure)?;
    }
    stage.part("Every request meets a clean area, in the environment that served the last one")?;
    for finding in checks::clean_areas(&stage).await? {
        stage.tell(finding)?;
    }
    for finding in checks::nothing_leaks(&stage).await? {
        stage.tell(finding)?;
    }
    stage.part("The same code without isolation: the probes do find what is left behind")?;
    for finding in checks::leaks_without_isolation(&stage).await? {
        stage.tell(finding)?;
    }
    stage.part("A run without end costs nobody but itself")?;
    for finding in checks::endless_run(&stage).await? {
        stage.tell(finding)?;
    }
    match no_program {
        None => show_programs(&mut stage).await?,
        Some(why) => {
            stage.part("Linux programs are left out")?;
            stage.tell(programs::left_out(why))?;
        }
    }
    if !json {
        output::line(match stage.failed {
            false => "\nAll held.",
            true => "\nNot all held.",
        })?;
    }
    Ok(!stage.failed)
}

/// What holds of Linux programs.
async fn show_programs(stage: &mut Stage) -> anyhow::Result<()> {
    stage.part("A Linux program: every request meets a new process, in a sandbox of its own")?;
    stage.tell(programs::answers(stage).await?)?;
    for finding in programs::new_processes(stage).await? {
        stage.tell(finding)?;
    }
    stage.part("The same program without isolation: one process serves them all, and counts")?;
    for finding in programs::kept_process(stage).await? {
        stage.tell(finding)?;
    }
    stage.part("A program that crashes costs nobody but its own request")?;
    for finding in programs::crash(stage).await? {
        stage.tell(finding)?;
    }
    Ok(())
}

async fn deploy(client: &Client, programs: bool, json: bool) -> anyhow::Result<()> {
    let request = Settings::default();
    let none = Settings {
        isolation: Isolation::None,
        ..Settings::default()
    };
    let mut bounded = Settings::default();
    bounded.limits.first_byte_max_ms = ENDLESS_MAX_MS;
    let components: [(&str, Bundled, &Settings); 6] = [
        ("hello", bundled::HELLO, &request),
        ("counter", bundled::COUNTER, &request),
        ("leak-probe", bundled::LEAK_PROBE, &request),
        ("counter-none", bundled::COUNTER, &none),
        ("leak-probe-none", bundled::LEAK_PROBE, &none),
        ("slow", bundled::SLOW, &bounded),
    ];
    let of_program = [
        ("program", bundled::PROGRAM_COUNTER, &request),
        ("program-none", bundled::PROGRAM_COUNTER, &none),
    ];
    let of_program = of_program.into_iter().filter(|_| programs);
    for (name, bundled, settings) in components.into_iter().chain(of_program) {
        let spinner = Spinner::new();
        spinner.says(&format!("deploying {name}"));
        let deployed = bundled.deploy(client, name.parse()?, settings.clone());
        let deployed = deployed.await?;
        drop(spinner);
        if !json {
            let mode = mode_word(&deployed.function);
            output::line(format!("deployed {name} ({mode})"))?;
        }
    }
    Ok(())
}

impl Stage {
    /// Begins a part of the demo.
    fn part(&self, title: &str) -> anyhow::Result<()> {
        if !self.json {
            output::line(format!("\n{title}"))?;
        }
        Ok(())
    }

    /// Tells a finding, and remembers whether it held.
    fn tell(&mut self, finding: Finding) -> anyhow::Result<()> {
        self.failed |= !finding.held;
        match self.json {
            true => output::json(&finding),
            false => Ok(output::line(finding)?),
        }
    }
}

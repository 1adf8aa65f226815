//! `usher demo`: everything on free ports with throw-away data, the mechanisms proven on the
//! bundled functions, and the end. It succeeds only if every check held.
//!
//! Where the machine permits no sandbox, one finding says so in the place of those about programs;
//! where it has no Python or Node, or does not permit to put programs back, another one does.
//!
//! Deliberately absent: judging speed, which is shown; `cargo xtask bench` judges it beside peers.

mod checks;
mod finding;
mod interpreters;
mod programs;
mod renewals;
mod speed;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;

use usher_api::client::Client;
use usher_api::node::Mode;
use usher_core::function::{Isolation, Settings};

use crate::bundled::{self, Bundled};
use crate::call::Caller;
use crate::deploy::{Spinner, mode_word, reasons};
use crate::output;
use crate::platform::{self, Platform};
use crate::signals::Signals;
use crate::up;
use finding::Finding;
use interpreters::{Language, NODE, PYTHON};

/// How long the demo's endless run may take until it is ended, in milliseconds.
const ENDLESS_MAX_MS: u64 = 500;

/// The functions of the demo, and how they are called.
struct Stage {
    gateway: SocketAddr,
    caller: Caller,
    json: bool,
    /// Programs that are replaced after each request, and why.
    replaced: BTreeMap<String, String>,
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
    let replaced = deploy(&platform.client()?, no_program.is_none(), json).await?;
    let mut stage = Stage {
        gateway: platform.gateway_within(),
        caller: Caller::new(),
        json,
        replaced,
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
    stage.part("A Linux program: every request meets it as it was before its first one")?;
    stage.tell(programs::answers(stage).await?)?;
    for finding in programs::renewed(stage).await? {
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
    stage.part("Python and Node, unmodified: put back, and with fresh randomness each time")?;
    for language in [PYTHON, NODE] {
        show_language(stage, &language).await?;
    }
    Ok(())
}

async fn show_language(stage: &mut Stage, language: &Language) -> anyhow::Result<()> {
    if let Some(interpreter) = language.bundled.interpreter_missing() {
        return stage.tell(interpreters::left_out(language, interpreter));
    }
    for finding in interpreters::renewed(stage, language).await? {
        stage.tell(finding)?;
    }
    for finding in interpreters::kept(stage, language).await? {
        stage.tell(finding)?;
    }
    Ok(())
}

/// Deploys all functions. Tells which programs are replaced after each request, and why.
async fn deploy(
    client: &Client,
    programs: bool,
    json: bool,
) -> anyhow::Result<BTreeMap<String, String>> {
    let request = Settings::default();
    let none = Settings {
        isolation: Isolation::None,
        ..Settings::default()
    };
    let mut bounded = Settings::default();
    bounded.limits.first_byte_max_ms = ENDLESS_MAX_MS;
    // A request waits for the one process to be put back, so that no other one is started.
    let mut single = Settings::default();
    single.limits.concurrency_max = 1;
    let components: [(&str, Bundled, &Settings); 6] = [
        ("hello", bundled::HELLO, &request),
        ("counter", bundled::COUNTER, &request),
        ("leak-probe", bundled::LEAK_PROBE, &request),
        ("counter-none", bundled::COUNTER, &none),
        ("leak-probe-none", bundled::LEAK_PROBE, &none),
        ("slow", bundled::SLOW, &bounded),
    ];
    let of_program = [
        ("program", bundled::PROGRAM_COUNTER, &single),
        ("program-none", bundled::PROGRAM_COUNTER, &none),
        (PYTHON.function, PYTHON.bundled, &single),
        (PYTHON.control, PYTHON.bundled, &none),
        (NODE.function, NODE.bundled, &single),
        (NODE.control, NODE.bundled, &none),
    ];
    let there = |bundled: Bundled| programs && bundled.interpreter_missing().is_none();
    let of_program = of_program.into_iter().filter(|(_, it, _)| there(*it));
    let mut replaced = BTreeMap::new();
    for (name, bundled, settings) in components.into_iter().chain(of_program) {
        let spinner = Spinner::new();
        spinner.says(&format!("deploying {name}"));
        let deployed = bundled.deploy(client, name.parse()?, settings.clone());
        let deployed = deployed.await?.function;
        drop(spinner);
        if deployed
            .image
            .as_ref()
            .is_some_and(|image| image.mode == Mode::Replaced)
        {
            replaced.insert(name.to_owned(), reasons(&deployed).join(" "));
        }
        if !json {
            output::line(format!("deployed {name} ({})", mode_word(&deployed)))?;
        }
    }
    Ok(replaced)
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

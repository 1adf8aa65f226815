//! `usher deploy`: from a component, a program or a folder to a function that answers.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use usher_api::http::{DeployRequest, Deployed, FunctionView};
use usher_api::node::{ImageReport, Mode, Progress};
use usher_core::function::RenewalChoice;

use crate::build;
use crate::cli::Deploy;
use crate::output;
use crate::source::Source;

/// How often the spinner turns.
const SPIN_EVERY: Duration = Duration::from_millis(100);

/// Deploys and tells where it answers and how it is served.
pub(crate) async fn run(deploy: Deploy, json: bool) -> anyhow::Result<()> {
    if deploy.build {
        build::of_manifest(&deploy.path).await?;
    }
    let client = deploy.remote.client()?;
    let source = Source::read(&deploy.path, deploy.name)?;
    tell_recognised(&source);
    let spinner = Spinner::new();
    spinner.says("storing");
    let stored = client.put_artifact(source.artifact).await?;
    let request = DeployRequest {
        owner: deploy.owner,
        name: source.name,
        artifact: stored.digest,
        settings: source.settings,
    };
    let progress = |progress: Progress| spinner.says(&progress.step);
    let deployed = client.deploy(&request, progress).await?;
    drop(spinner);
    match json {
        true => output::json(&deployed),
        false => tell(&deployed),
    }
}

fn tell(deployed: &Deployed) -> anyhow::Result<()> {
    let function = &deployed.function;
    let what = match (deployed.created, deployed.unchanged) {
        (true, _) => "deployed",
        (false, true) => "unchanged",
        (false, false) => "changed",
    };
    let mode = mode_text(function);
    let number = function.revision.number;
    output::line(format!(
        "{} {what}: revision {number}, {mode}",
        function.name
    ))?;
    for url in &function.urls {
        output::line(format!("  {url}"))?;
    }
    for reason in reasons(function) {
        output::line(format!("  not live: {reason}"))?;
    }
    for note in notes(function) {
        output::line(format!("  note: {note}"))?;
    }
    Ok(())
}

/// Says what a program was taken for, where no manifest says what it is.
pub(crate) fn tell_recognised(source: &Source) {
    if let Some(what) = &source.recognised {
        eprintln!("usher: recognised as {what}");
    }
}

/// How a function is served, in one word.
pub(crate) fn mode_word(function: &FunctionView) -> &'static str {
    match function.image.as_ref().map(|image| image.mode) {
        Some(Mode::Live) => "live",
        Some(Mode::Fresh) => "fresh",
        Some(Mode::Replaced) => "replaced",
        Some(Mode::Kept) => "kept",
        // Made ready by its first request.
        None => "idle",
    }
}

/// The same with the key, where state is kept by one.
pub(crate) fn mode_text(function: &FunctionView) -> String {
    let word = match (mode_word(function), function.revision.settings.renewal) {
        ("live", RenewalChoice::Swap) => "live, swapped",
        ("live", RenewalChoice::InPlace) => "live, put back in place",
        (word, _) => word,
    };
    match function.revision.settings.isolation.key() {
        Some(source) => format!("{word} by {source}"),
        None => word.to_owned(),
    }
}

/// Why a function is not served live.
pub(crate) fn reasons(function: &FunctionView) -> &[String] {
    let image: Option<&ImageReport> = function.image.as_ref();
    image.map_or(&[], |image| &image.reasons)
}

/// What else was noticed when it was made ready.
pub(crate) fn notes(function: &FunctionView) -> &[String] {
    let image: Option<&ImageReport> = function.image.as_ref();
    image.map_or(&[], |image| &image.notes)
}

/// Turns on standard error while people wait, if it is a terminal. Goes away by drop.
pub(crate) struct Spinner(ProgressBar);

impl Spinner {
    /// A spinner that says nothing yet.
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(SPIN_EVERY);
        Self(bar)
    }

    /// Says what is done now.
    pub(crate) fn says(&self, step: &str) {
        self.0.set_message(step.to_owned());
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

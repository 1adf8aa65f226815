//! One attempt to serve the source: read, build, deploy, switch over.
//!
//! The deployment goes straight to the controller of this process, so that it costs what making the
//! function ready costs, and no more.
//!
//! Deliberately absent: when an attempt is made, and what becomes of it (`cycle`).

use anyhow::Context;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use usher_api::http::{DeployRequest, Deployed};
use usher_api::node::{LogEvent, LogLine, LogQuery};
use usher_core::id::{FunctionKey, Name};

use super::cycle::Project;
use super::report::{Phase, Report};
use super::terminal::{Terminal, Times};
use crate::platform::Platform;
use crate::source::Source;
use crate::{build, deploy, logs};

/// How attempts are made.
pub(crate) struct Attempt<'p> {
    platform: &'p Platform,
    /// Variables that a program gets besides those of its manifest.
    environment: Vec<(String, String)>,
    shown: Option<(FunctionKey, JoinHandle<()>)>,
    /// What was told of the revision before, so that it is told once.
    told: Vec<String>,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some((_, showing)) = &self.shown {
            showing.abort();
        }
    }
}

impl<'p> Attempt<'p> {
    /// Attempts on a platform.
    pub(crate) fn new(platform: &'p Platform, environment: Vec<(String, String)>) -> Self {
        Self {
            platform,
            environment,
            shown: None,
            told: Vec::new(),
        }
    }

    /// Serves the source as it is now. Dropping the future ends a build, and leaves a deployment
    /// that has begun to end by itself.
    pub(crate) async fn make(
        &mut self,
        project: &Project,
        terminal: &Terminal,
        begun: Instant,
    ) -> Result<Times, Report> {
        let mut times = Times::default();
        let wrong = |error: anyhow::Error| Report::of(Phase::Read, &error);
        let reading = project.clone();
        let manifest = blocking(move || reading.manifest()).await.map_err(wrong)?;
        if let Some(wanted) = manifest.and_then(|manifest| manifest.build) {
            terminal.building(&wanted.command);
            let since = Instant::now();
            let show = |piece: &[u8]| terminal.build_says(piece);
            build::run(&wanted.command, project.folder(), show).await?;
            times.build = since.elapsed();
        }
        let since = Instant::now();
        let path = project.path.clone();
        let source = blocking(move || Source::read(&path, None)).await;
        let source = source.and_then(|source| self.with_environment(source));
        let source = source.map_err(wrong)?;
        if self.shown.is_none() {
            deploy::tell_recognised(&source);
        }
        let function = FunctionKey {
            owner: Name::default_owner(),
            name: source.name.clone(),
        };
        self.show(&function);
        let deployed = self.deploy(source).await;
        let deployed = deployed.map_err(|error| Report::of(Phase::Deploy, &error))?;
        self.tell_notes(&deployed);
        self.platform.serve_single(deployed.function.revision);
        times.deploy = since.elapsed();
        times.whole = begun.elapsed();
        Ok(times)
    }

    fn with_environment(&self, mut source: Source) -> anyhow::Result<Source> {
        if self.environment.is_empty() {
            return Ok(source);
        }
        let process = source.settings.process.as_mut();
        let process = process.context("--env is for programs, and this is a component")?;
        process.environment.extend(self.environment.iter().cloned());
        Ok(source)
    }

    async fn deploy(&self, source: Source) -> anyhow::Result<Deployed> {
        let controller = self.platform.controller();
        let artifact = source.artifact;
        let bytes = stream::once(async move { Ok(artifact) }).boxed();
        let stored = controller.put_artifact(bytes).await?;
        let request = DeployRequest {
            owner: None,
            name: source.name,
            artifact: stored.digest,
            settings: source.settings,
        };
        // Nobody is told of the steps, which are over before they could be read.
        let (progress, _) = mpsc::channel(1);
        Ok(controller.deploy(request, progress).await?)
    }

    /// Says how it is served, where that is not what was said before.
    fn tell_notes(&mut self, deployed: &Deployed) {
        let function = &deployed.function;
        let mode = deploy::mode_word(function);
        let reasons = deploy::reasons(function).iter();
        let reasons = reasons.map(|reason| format!("served {mode}: {reason}"));
        let told: Vec<_> = reasons
            .chain(deploy::notes(function).iter().cloned())
            .collect();
        if told != self.told {
            told.iter().for_each(|line| eprintln!("usher: {line}"));
            self.told = told;
        }
    }

    /// Shows the log of a function as it is written, from its first line on.
    fn show(&mut self, function: &FunctionKey) {
        if let Some((shown, showing)) = &self.shown {
            if shown == function {
                return;
            }
            showing.abort();
        }
        let query = LogQuery {
            follow: true,
            ..LogQuery::default()
        };
        let mut lines = self.platform.log(function, query);
        let showing = tokio::spawn(async move {
            while let Some(line) = lines.next().await {
                if !is_of_an_attempt(&line) {
                    eprintln!("{}", logs::text(&line));
                }
            }
        });
        self.shown = Some((function.clone(), showing));
    }
}

/// Whether a line says why a revision was not made ready, which whoever attempted it tells himself.
fn is_of_an_attempt(line: &LogLine) -> bool {
    let LogEvent::Platform { text } = &line.event else {
        return false;
    };
    line.request.is_none() && text.starts_with("the revision could not be made ready")
}

/// What may wait for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("a task of reading broke off")?
}

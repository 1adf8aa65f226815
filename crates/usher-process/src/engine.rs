//! The engine: makes bundles into images and images into running programs.
//!
//! ```text
//! load:  unpack (once per digest) ─→ start the first program, so that it says if it cannot ─→ lint
//! start: the first program, else a new one out of a ready-made sandbox
//! ```
//!
//! Deliberately absent: pools of environments, which a node keeps.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, mpsc};
use usher_api::node::{ImageReport, Mode, PrepareFault, Progress};
use usher_core::claim::RuntimeAbi;
use usher_core::fault::Blame;
use usher_core::function::{AREA_MEMORY, Process, RenewalChoice, Revision};
use usher_core::outbound::AllowList;
use usher_core::renewal::choice::Way;
use usher_engine::phases::{Phase, Phases};
use usher_engine::{Artifact, Engine, LoadError, Sources, StartError};

use crate::bundle::Bundles;
use crate::cause::chain;
use crate::cloned::Clones;
use crate::ending::Endings;
use crate::environment::ProcessEnvironment;
use crate::folders::Folders;
use crate::image::{ProcessImage, Programs};
use crate::lint::{is_wanted, lint};
use crate::renewable::Renewable;
use crate::renewal::{Injected, Injection, Step};
use crate::restorable::Ways;
use crate::sandbox::{Means, SandboxOptions, Sandboxes};
use crate::start::start;

/// Rises when what a program finds in its sandbox changes.
const SANDBOX_FORMAT: u64 = 1;
/// Why a function is not served live whose manifest says so.
const NOT_WANTED: &str = "its manifest says renewal = \"fresh\"";

/// What an engine is set to.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// Where bundles are unpacked. Whoever can write there can change functions.
    pub bundles_folder: PathBuf,
    /// How sandboxes are made.
    pub sandboxes: SandboxOptions,
    /// Folders on devices that programs' memory can be in, by name. What runs write is in files
    /// there for as long as their environments last.
    pub areas: BTreeMap<String, PathBuf>,
}

/// What was counted since an engine was made.
#[derive(Debug, Default)]
pub struct Counters {
    /// Images loaded.
    pub loaded: AtomicU64,
    /// Programs started, those that failed included.
    pub started: AtomicU64,
    /// Programs that were made like another one instead.
    pub cloned: AtomicU64,
    /// Programs that could not be made like another one, and were started.
    pub not_cloned: AtomicU64,
    /// Why the latest of them could not.
    pub latest_not_cloned: Mutex<Option<String>>,
    /// Programs that could not be put back after a request, and were replaced.
    pub not_put_back: AtomicU64,
    /// Why the latest of them could not.
    pub latest_not_put_back: Mutex<Option<String>>,
    /// Put-backs in which memory was swapped.
    pub swaps: AtomicU64,
    /// What exchanging the pages took in all of them, in microseconds.
    pub swap_us: AtomicU64,
    /// Environments that were given out and exist.
    pub alive: AtomicU64,
    /// What starts from nothing took.
    pub phases: Phases,
}

/// The process engine.
pub struct ProcessEngine {
    inner: Arc<Inner>,
    abi: RuntimeAbi,
}

/// What all environments of an engine share.
pub(crate) struct Inner {
    config: ProcessConfig,
    sources: Sources,
    sandboxes: OnceCell<Result<Sandboxes, String>>,
    folders: OnceCell<Folders>,
    pub(crate) endings: Endings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) injected: Arc<Injected>,
}

impl ProcessEngine {
    /// Makes an engine. What the machine permits is found out when somebody asks for
    /// [`ProcessEngine::means`] or deploys a program: one that permits no sandbox runs components
    /// all the same.
    /// It gives functions no secrets.
    pub fn new(config: ProcessConfig) -> Self {
        Self::with(config, Sources::default())
    }

    /// The same, which gives functions what these sources have.
    pub fn with(config: ProcessConfig, sources: Sources) -> Self {
        let abi = RuntimeAbi {
            engine: "process".into(),
            version: std::env::consts::ARCH.into(),
            settings: SANDBOX_FORMAT,
        };
        let inner = Inner {
            config,
            sources,
            sandboxes: OnceCell::new(),
            folders: OnceCell::new(),
            endings: Endings::default(),
            counters: Arc::default(),
            injected: Arc::default(),
        };
        Self {
            inner: Arc::new(inner),
            abi,
        }
    }

    /// What was counted since the engine was made.
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// From now on a step of all renewals fails, or the platform dies in it. For tests.
    #[doc(hidden)]
    pub fn inject(&self, what: Option<(Step, Injection)>) {
        self.inner.injected.set(what);
    }

    /// What the machine gives sandboxes, and which way was chosen. The first call finds that out,
    /// removes what a killed platform left, and begins to make sandboxes ready.
    ///
    /// # Errors
    /// Why the machine permits no sandbox that is safe.
    pub async fn means(&self) -> Result<&Means, &str> {
        self.inner.sandboxes().await.map(Sandboxes::means)
    }

    /// The same if somebody has asked for it before; it finds nothing out.
    pub fn known_means(&self) -> Option<&Means> {
        let opened = self.inner.sandboxes.get()?.as_ref();
        opened.ok().map(Sandboxes::means)
    }

    /// Waits until the programs that were asked to end have ended, and gives the sandboxes back.
    pub async fn close(&self) {
        self.inner.endings.ended().await;
        if let Some(Ok(sandboxes)) = self.inner.sandboxes.get() {
            sandboxes.close().await;
        }
    }

    /// Why no program can be put back on this machine. One that permits no sandbox starts none.
    async fn never_put_back(&self) -> Option<String> {
        let means = self.means().await.ok()?;
        means.never_put_back().map(str::to_owned)
    }

    /// Where the areas of a program's memory are; none: all are in the machine's own.
    fn areas(&self, process: &Process) -> Result<Option<[Option<PathBuf>; 2]>, PrepareFault> {
        let folder = |name: &String| match self.inner.config.areas.get(name) {
            _ if name == AREA_MEMORY => Ok(None),
            Some(folder) => Ok(Some(folder.clone())),
            None => Err(function(format!(
                "areas names \"{name}\", which this platform does not know; it knows \
                 \"{AREA_MEMORY}\"{}",
                self.known_areas()
            ))),
        };
        match process.areas.as_slice() {
            [first, second] => {
                let areas = [folder(first)?, folder(second)?];
                Ok(Some(areas).filter(|areas| areas.iter().any(Option::is_some)))
            }
            _ => Ok(None),
        }
    }

    fn known_areas(&self) -> String {
        let known = self.inner.config.areas.keys();
        known.map(|name| format!(", \"{name}\"")).collect()
    }

    /// Why no program's memory can be swapped on this machine.
    async fn never_swapped(&self) -> Option<String> {
        let means = self.means().await.ok()?;
        means.never_swapped().map(str::to_owned)
    }

    async fn unpack(
        &self,
        revision: &Arc<Revision>,
        process: Process,
        artifact: Bytes,
    ) -> Result<ProcessImage, PrepareFault> {
        let begun = Instant::now();
        let bundle_bytes = artifact.len() as u64;
        let folders = self.inner.folders().await?;
        let unpacked = folders.of(artifact, revision.artifact).await;
        let folder = unpacked.map_err(|error| PrepareFault {
            blame: error.blame(),
            message: chain(&error),
        })?;
        self.inner.counters.phases.since(Phase::Unpack, begun);
        let areas = self.areas(&process)?;
        let given = self.inner.sources.given(revision).await?;
        if areas.is_some() && !given.secrets.is_empty() {
            return Err(function(
                "secrets would reach the device that areas names, as a program's memory does; \
                 leave out one of the two"
                    .to_owned(),
            ));
        }
        let allowed = AllowList::parse(&revision.settings.outbound).map_err(|bad| {
            let bad = bad.iter().map(|entry| entry.text.clone());
            let bad = bad.collect::<Vec<_>>().join(", ");
            function(format!("outbound has entries that cannot be read: {bad}"))
        })?;
        Ok(ProcessImage {
            revision: revision.clone(),
            process,
            given,
            folder,
            allowed: Arc::new(allowed),
            unpack_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            bundle_bytes,
            areas,
            renewable: match (revision.settings.renewal, self.never_put_back().await) {
                (RenewalChoice::Fresh, _) => Renewable::never(NOT_WANTED.to_owned()),
                (RenewalChoice::Swap, None) => match self.never_swapped().await {
                    Some(why) => Renewable::never(why),
                    None => Renewable::untried(),
                },
                (_, Some(why)) => Renewable::never(why),
                (_, None) => Renewable::untried(),
            },
            ways: match (revision.settings.renewal, self.never_swapped().await) {
                (RenewalChoice::Swap, _) => Ways::Only(Way::Swap),
                (RenewalChoice::InPlace, _) | (_, Some(_)) => Ways::Only(Way::InPlace),
                (_, None) => Ways::Measured,
            },
            notes: Mutex::default(),
            clones: Clones::default(),
            programs: Programs::default(),
            first: Mutex::new(None),
        })
    }
}

impl Inner {
    /// The sandboxes, or why there are none.
    pub(crate) async fn sandboxes(&self) -> Result<&Sandboxes, &str> {
        let opened = self.sandboxes.get_or_init(async || {
            let options = self.config.sandboxes.clone();
            Sandboxes::open(options).await.map_err(|error| {
                let why = chain(&error);
                tracing::warn!(why, "programs cannot run here");
                why
            })
        });
        opened.await.as_ref().map_err(String::as_str)
    }

    /// Where bundles are unpacked.
    async fn folders(&self) -> Result<&Folders, PrepareFault> {
        let folder = self.config.bundles_folder.clone();
        let open = move || Bundles::open(&folder, Default::default());
        let opened = self.folders.get_or_try_init(async || {
            let opened = tokio::task::spawn_blocking(open).await;
            let opened = opened.map_err(|lost| platform(format!("the task was lost: {lost}")))?;
            let bundles = opened.map_err(|error| platform(chain(&error)))?;
            Ok(Folders::new(bundles))
        });
        opened.await
    }
}

impl Engine for ProcessEngine {
    type Image = ProcessImage;
    type Environment = ProcessEnvironment;

    fn abi(&self, _: &Revision) -> &RuntimeAbi {
        &self.abi
    }

    async fn load(
        &self,
        revision: Arc<Revision>,
        artifact: impl Into<Artifact> + Send,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Arc<ProcessImage>, LoadError> {
        // Nobody may be listening, and a full queue must not hold up the work.
        let tell = |step: &str| {
            let _unheard = progress.try_send(Progress { step: step.into() });
        };
        let Some(process) = revision.settings.process.clone() else {
            return Err(LoadError(platform(
                "a component was given to the engine of programs".into(),
            )));
        };
        tell("unpacking");
        let artifact = artifact.into().bytes().await?;
        let image = Arc::new(self.unpack(&revision, process, artifact).await?);
        tell("starting");
        let served = start(&self.inner, &image).await;
        let served = served.map_err(|failure| PrepareFault {
            blame: failure.fault().judge().blame,
            message: failure.to_string(),
        })?;
        let served = match is_wanted(&image, &served) {
            true => {
                tell("looking for values that repeat");
                lint(&self.inner, &image, served).await
            }
            false => Some(served),
        };
        // Where state is kept it says nothing.
        if let Some(word) = demanded(revision.settings.renewal).filter(|_| !image.keeps())
            && let Some(reasons) = image.renewable.reasons()
        {
            return Err(LoadError(function(format!(
                "renewal = \"{word}\" cannot be had: {}. Write renewal = \"auto\".",
                reasons.join("; ")
            ))));
        }
        self.inner.counters.loaded.fetch_add(1, Ordering::Relaxed);
        *image.first.lock() = served;
        Ok(image)
    }

    /// A program is started for its image, and asked what the lint asks.
    fn reloads_fast(&self, _: &ProcessImage) -> bool {
        false
    }

    fn report(&self, image: &ProcessImage) -> ImageReport {
        let (mode, reasons) = match (image.keeps(), image.renewable.reasons()) {
            (true, _) => (Mode::Kept, Vec::new()),
            (false, None) => {
                let started = image.clones.reason();
                (Mode::Live, started.iter().map(started_anew).collect())
            }
            (false, Some(reasons)) => (Mode::Replaced, reasons.iter().map(replaced).collect()),
        };
        ImageReport {
            revision: image.revision.id,
            mode,
            reasons,
            notes: image.notes.lock().clone(),
            cached: false,
            compile_ms: image.unpack_ms,
            code_bytes: image.bundle_bytes,
            image_bytes: 0,
        }
    }

    fn memory_bytes(&self, image: &ProcessImage, _: u64) -> u64 {
        image.programs.memory_bytes()
    }

    fn distrust(&self, image: &ProcessImage) {
        let reason = "an audit has found that a program was not as it had been";
        image.renewable.give_up(reason.to_owned());
    }

    async fn start(&self, image: &Arc<ProcessImage>) -> Result<ProcessEnvironment, StartError> {
        // One that has gone away meanwhile is of no use.
        let first = image
            .first
            .lock()
            .take()
            .filter(|first| first.exited().is_none());
        match first {
            Some(first) => Ok(ProcessEnvironment::of(&self.inner, image, first)),
            None => ProcessEnvironment::start(&self.inner, image).await,
        }
    }
}

/// The manifest's word for a way without which nothing is deployed.
fn demanded(choice: RenewalChoice) -> Option<&'static str> {
    match choice {
        RenewalChoice::Auto | RenewalChoice::Fresh => None,
        RenewalChoice::Live => Some("live"),
        RenewalChoice::Swap => Some("swap"),
        RenewalChoice::InPlace => Some("in-place"),
    }
}

/// Why environments that are new are not made like the first one, as a whole sentence.
fn started_anew(reason: &String) -> String {
    format!("New environments are started, and not made like the first one: {reason}.")
}

/// A reason as a whole sentence.
fn replaced(reason: &String) -> String {
    format!("Every request gets a new process, started ahead of it where there is time: {reason}.")
}

fn platform(message: String) -> PrepareFault {
    PrepareFault {
        blame: Blame::Platform,
        message,
    }
}

fn function(message: String) -> PrepareFault {
    PrepareFault {
        blame: Blame::Function,
        message,
    }
}

//! An engine without a sandbox: its guests are Rust closures, its areas two byte vectors. For tests
//! only.
//!
//! An artifact is the name of a guest (`fake:echo`); [`FakeEngine::teach`] adds guests. What it
//! shares with the real engines is the mechanism: a guest reaches its state only through the
//! environment's pointer, renewal changes the pointer, a run is refused unless the pointer names
//! the area on record, and an audit compares bytes. What goes wrong is chosen with [`Trouble`], and
//! how far things go with [`Gate`], so that no test has to sleep.
//!
//! Deliberately absent: any protection. A guest is trusted code of the test.

mod environment;
mod gate;
mod guest;
mod memory;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use usher_api::node::{ImageReport, Mode, PrepareFault, Progress};
use usher_core::claim::RuntimeAbi;
use usher_core::fault::{Blame, Fault};
use usher_core::function::{RenewalChoice, Revision};
use usher_core::id::Digest;

pub use environment::{FakeEnvironment, FakeUsed};
pub use gate::Gate;
pub use guest::{Answer, Failure, Guest, Visit, channel_body};
pub use memory::{AREA_BYTES, COUNTER_AT, Memory};

use crate::artifact::Artifact;
use crate::environment::{Engine, LoadError, StartError};

/// Every artifact of this engine begins so; the rest is the guest's name.
pub const ARTIFACT_PREFIX: &str = "fake:";

/// The engine.
pub struct FakeEngine {
    abi: RuntimeAbi,
    guests: Mutex<HashMap<String, Guest>>,
    compiled: Mutex<HashMap<Digest, ()>>,
    shared: Arc<Shared>,
}

/// What all environments of an engine share.
#[derive(Default)]
struct Shared {
    counts: Counts,
    trouble: Trouble,
    gates: Gates,
}

/// What was done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Artifacts compiled: once for each digest.
    pub compiled: AtomicU64,
    /// Images loaded: once for each revision.
    pub loaded: AtomicU64,
    /// Environments started.
    pub started: AtomicU64,
    /// Environments that exist.
    pub alive: AtomicU64,
    /// Renewals that were audited.
    pub audited: AtomicU64,
    /// Used areas that were scrubbed.
    pub scrubbed: AtomicU64,
}

/// What goes wrong while it is switched on.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Renewal changes the record but not the pointer, so that the determination has to fail.
    pub skip_swap: AtomicBool,
    /// Renewal leaves a wrong byte in the area, which only an audit notices.
    pub spoil_renewal: AtomicBool,
    /// Something is left of each run that cannot be put back.
    pub leftover: AtomicBool,
    /// Environments cannot be started, because of an error in the code.
    pub fail_start: AtomicBool,
    /// Artifacts cannot be loaded, for a reason of the platform.
    pub fail_load: AtomicBool,
}

/// Where things can be held.
#[derive(Default)]
pub struct Gates {
    /// In `load`.
    pub load: Gate,
    /// In `start`.
    pub start: Gate,
    /// In the run of the guests `slow` and `stream`; held from the beginning.
    pub run: Gate,
    /// In `renew`.
    pub renew: Gate,
}

/// A guest with its settings.
pub struct FakeImage {
    revision: Arc<Revision>,
    guest: Guest,
    bytes: Arc<[u8]>,
    cached: bool,
    live: AtomicBool,
}

impl FakeImage {
    /// The revision it is the image of.
    pub fn revision(&self) -> &Arc<Revision> {
        &self.revision
    }

    fn kept(&self) -> bool {
        self.revision.settings.isolation.keeps()
    }

    fn live(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }
}

impl Default for FakeEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeEngine {
    /// An engine that knows the guests of the contract suite: `hello`, `counter`, `echo`, `slow`,
    /// `stream`, `stream-trap`, `print`, `trap`, `spin`, `hog`.
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        shared.gates.run.hold();
        Self {
            abi: RuntimeAbi {
                engine: "fake".to_owned(),
                version: "1".to_owned(),
                settings: 0,
            },
            guests: Mutex::new(guest::all(&shared)),
            compiled: Mutex::default(),
            shared,
        }
    }

    /// Adds a guest, or puts it in another one's place for images loaded from now on.
    pub fn teach(&self, name: &str, guest: Guest) {
        self.guests.lock().insert(name.to_owned(), guest);
    }

    /// The bytes that stand for a guest.
    pub fn artifact(name: &str) -> Bytes {
        Bytes::from(format!("{ARTIFACT_PREFIX}{name}"))
    }

    /// What was done so far.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// What goes wrong.
    pub fn trouble(&self) -> &Trouble {
        &self.shared.trouble
    }

    /// Where things are held.
    pub fn gates(&self) -> &Gates {
        &self.shared.gates
    }

    fn compile(&self, revision: &Revision, artifact: &Bytes) -> Result<(Guest, bool), LoadError> {
        let refused = |message: String| PrepareFault {
            blame: Blame::Function,
            message,
        };
        let name = std::str::from_utf8(artifact)
            .ok()
            .and_then(|text| text.strip_prefix(ARTIFACT_PREFIX))
            .ok_or_else(|| refused("the artifact is not a guest of the fake engine".to_owned()))?;
        let guest = self.guests.lock().get(name).cloned();
        let guest = guest.ok_or_else(|| refused(format!("there is no fake guest {name:?}")))?;
        let cached = self.compiled.lock().insert(revision.artifact, ()).is_some();
        if !cached {
            self.shared.counts.compiled.fetch_add(1, Ordering::SeqCst);
        }
        Ok((guest, cached))
    }
}

impl Engine for FakeEngine {
    type Image = FakeImage;
    type Environment = FakeEnvironment;

    fn abi(&self, _: &Revision) -> &RuntimeAbi {
        &self.abi
    }

    async fn load(
        &self,
        revision: Arc<Revision>,
        artifact: impl Into<Artifact> + Send,
        progress: mpsc::Sender<Progress>,
    ) -> Result<Arc<FakeImage>, LoadError> {
        // Progress is for people who may have gone away; nobody waits for them.
        let _ = progress.try_send(Progress {
            step: "loading".to_owned(),
        });
        self.shared.gates.load.pass().await;
        if self.shared.trouble.fail_load.load(Ordering::SeqCst) {
            return Err(LoadError(PrepareFault {
                blame: Blame::Platform,
                message: "the artifact could not be loaded, as the test wanted".to_owned(),
            }));
        }
        let artifact = artifact.into().bytes().await?;
        let (guest, cached) = self.compile(&revision, &artifact)?;
        self.shared.counts.loaded.fetch_add(1, Ordering::SeqCst);
        let live = revision.settings.renewal != RenewalChoice::Fresh;
        Ok(Arc::new(FakeImage {
            revision,
            guest,
            bytes: memory::image_bytes(),
            cached,
            live: AtomicBool::new(live),
        }))
    }

    fn report(&self, image: &FakeImage) -> ImageReport {
        let chosen = image.revision.settings.renewal == RenewalChoice::Fresh;
        let (mode, reasons) = match (image.kept(), image.live(), chosen) {
            (true, _, _) => (Mode::Kept, Vec::new()),
            (false, true, _) => (Mode::Live, Vec::new()),
            (false, false, true) => (Mode::Fresh, vec!["The manifest asks for it.".to_owned()]),
            (false, false, false) => (Mode::Fresh, vec!["An audit has failed.".to_owned()]),
        };
        ImageReport {
            revision: image.revision.id,
            mode,
            reasons,
            notes: Vec::new(),
            cached: image.cached,
            compile_ms: 0,
            code_bytes: 0,
            image_bytes: AREA_BYTES as u64,
        }
    }

    fn distrust(&self, image: &FakeImage) {
        image.live.store(false, Ordering::SeqCst);
    }

    async fn start(&self, image: &Arc<FakeImage>) -> Result<FakeEnvironment, StartError> {
        self.shared.counts.started.fetch_add(1, Ordering::SeqCst);
        self.shared.gates.start.pass().await;
        if self.shared.trouble.fail_start.load(Ordering::SeqCst) {
            return Err(StartError {
                fault: Fault::StartFailed,
                cause: "the environment could not be started, as the test wanted".to_owned(),
            });
        }
        Ok(FakeEnvironment::new(image.clone(), self.shared.clone()))
    }
}

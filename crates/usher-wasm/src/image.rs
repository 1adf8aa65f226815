//! An artifact made ready for one revision: code, links, and how it is served.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use usher_api::node::{ImageReport, Mode};
use usher_core::function::Revision;
use usher_core::outbound::AllowList;
use wasmtime::component::InstancePre;

use crate::engine::Inner;
use crate::host::Host;
use crate::rewrite::LiveExports;
use crate::settings::CodeKind;
use crate::started::{NotLive, Start, Started, Warmth};
use crate::sys::image::MemoryImage;

/// Code that is loaded and linked.
pub(crate) struct Code {
    pub(crate) kind: CodeKind,
    pub(crate) pre: InstancePre<Host>,
    /// What the rewriting added; only code of the live kinds has it.
    pub(crate) exports: Option<LiveExports>,
    /// Whether it consists of several instances with state that can call each other.
    pub(crate) nested: bool,
}

/// An artifact made ready for one revision.
pub struct WasmImage {
    pub(crate) revision: Arc<Revision>,
    pub(crate) allowed: Arc<AllowList>,
    pub(crate) code: Arc<Code>,
    /// The folder of the artifact, from which code for fresh instances is made when it is needed.
    pub(crate) artifact: PathBuf,
    pub(crate) fresh: OnceCell<Arc<Code>>,
    /// The clean images of the memories, taken of the first environment.
    pub(crate) memories: Mutex<Vec<Arc<MemoryImage>>>,
    /// What each environment begins with, where the image was taken after a warm-up.
    pub(crate) warmth: Option<Warmth>,
    /// Whether two instances that were started separately may differ.
    pub(crate) drew: bool,
    /// What was noticed when it was there already.
    pub(crate) notes: Mutex<Vec<String>>,
    /// The environment that the image was taken of, until it is given out.
    pub(crate) first: Mutex<Option<Started>>,
    pub(crate) distrusted: AtomicBool,
    pub(crate) report: ImageReport,
}

impl WasmImage {
    /// Whether state is kept from run to run on purpose.
    pub(crate) fn keeps(&self) -> bool {
        self.revision.settings.isolation.keeps()
    }

    /// Whether environments are put back between runs.
    pub(crate) fn live(&self) -> bool {
        self.code.exports.is_some() && !self.distrusted.load(Ordering::Acquire)
    }

    /// What the rewriting added, which only live images have.
    pub(crate) fn exports(&self) -> Result<&LiveExports, NotLive> {
        let exports = self.code.exports.as_ref();
        exports.ok_or_else(|| NotLive::Failed("it was not rewritten".into()))
    }

    /// A further environment of this image.
    pub(crate) async fn started(&self, inner: &Arc<Inner>) -> Result<Started, NotLive> {
        let known = self.memories.lock().clone();
        let start = self.start(self.exports()?, &known);
        match &self.warmth {
            Some(warmth) => Started::warmed(inner, start, warmth).await,
            None => Started::first(inner, start).await,
        }
    }

    /// What an environment of this image is started from.
    pub(crate) fn start<'a>(
        &'a self,
        exports: &'a LiveExports,
        known: &'a [Arc<MemoryImage>],
    ) -> Start<'a> {
        Start {
            code: &self.code,
            exports,
            revision: &self.revision,
            allowed: &self.allowed,
            known,
        }
    }

    pub(crate) fn describe(&self) -> ImageReport {
        let mut report = self.report.clone();
        report.notes.extend(self.notes.lock().iter().cloned());
        if self.distrusted.load(Ordering::Acquire) && report.mode == Mode::Live {
            report.mode = Mode::Fresh;
            report.reasons = vec![
                "an audit found that a renewed area differed from the image; \
                 deploy again to serve it live"
                    .into(),
            ];
        }
        report
    }
}

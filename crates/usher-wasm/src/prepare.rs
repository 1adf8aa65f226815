//! Making an image: from an entry of the cache to something that environments are started from.
//!
//! Deliberately absent: compilation (`cache`), and environments beyond the first.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use usher_api::node::{ImageReport, Mode, PrepareFault};
use usher_core::fault::Blame;
use usher_core::function::{Isolation, RenewalChoice, Revision};
use usher_core::outbound::AllowList;
use usher_engine::phases::Phase;

use crate::cache::Entry;
use crate::compile::{ARTIFACT_FILE, code_file};
use crate::engine::Inner;
use crate::image::{Code, WasmImage};
use crate::live::{Live, NotLive, Start};

/// An image in the making.
pub(crate) struct Preparation {
    revision: Arc<Revision>,
    allowed: Arc<AllowList>,
    code: Arc<Code>,
    entry: Entry,
}

impl Preparation {
    /// Checks what the settings ask of the artifact, and loads its code.
    pub(crate) fn new(
        inner: &Inner,
        revision: Arc<Revision>,
        entry: Entry,
    ) -> Result<Self, PrepareFault> {
        let refused = |message: String| PrepareFault {
            blame: Blame::Function,
            message,
        };
        let demanded = revision.settings.renewal == RenewalChoice::Live;
        if demanded && entry.compiled.exports.is_none() {
            return Err(refused(not_live(&entry.compiled.reasons)));
        }
        let allowed = AllowList::parse(&revision.settings.outbound).map_err(|bad| {
            let bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
            refused(bad.join("; "))
        })?;
        let code = inner.code(revision.artifact, &entry)?;
        Ok(Self {
            revision,
            allowed: Arc::new(allowed),
            code,
            entry,
        })
    }

    /// Starts the first environment where the image is to be served live, and takes the clean
    /// images of it. A component that cannot be put back after all is served fresh.
    pub(crate) async fn finish(self, inner: &Arc<Inner>) -> Result<Arc<WasmImage>, PrepareFault> {
        let mut reasons = self.entry.compiled.reasons.clone();
        let mut first = None;
        if let Some(exports) = &self.code.exports {
            let start = Start {
                code: &self.code,
                exports,
                revision: &self.revision,
                allowed: &self.allowed,
                known: &[],
            };
            let begun = Instant::now();
            match Live::start(inner, start).await {
                Ok(started) => {
                    inner.counters.phases.since(Phase::Instantiate, begun);
                    first = Some(started);
                }
                Err(NotLive::Reason(reason)) => reasons.push(reason),
                Err(NotLive::Failed(cause)) => {
                    return Err(PrepareFault {
                        blame: Blame::Function,
                        message: format!("the component could not be started: {cause}"),
                    });
                }
            }
        }
        if first.is_none() && self.revision.settings.renewal == RenewalChoice::Live {
            return Err(PrepareFault {
                blame: Blame::Function,
                message: not_live(&reasons),
            });
        }
        let live = first.is_some();
        let images = first.as_ref().map(|first| first.areas.images().to_vec());
        let images = images.unwrap_or_default();
        let report = self.report(live, reasons, images.iter().map(|image| image.len()).sum());
        Ok(Arc::new(WasmImage {
            revision: self.revision,
            allowed: self.allowed,
            code: self.code,
            artifact: self.entry.folder.join(ARTIFACT_FILE),
            fresh: OnceCell::new(),
            memories: Mutex::new(images),
            first: Mutex::new(first),
            distrusted: AtomicBool::new(!live),
            report,
        }))
    }

    fn report(&self, live: bool, reasons: Vec<String>, image_bytes: usize) -> ImageReport {
        let settings = &self.revision.settings;
        let mode = match settings.isolation {
            Isolation::Key(_) | Isolation::None => Mode::Kept,
            Isolation::Request if live => Mode::Live,
            Isolation::Request => Mode::Fresh,
        };
        let code = self.entry.folder.join(code_file(self.code.kind));
        ImageReport {
            revision: self.revision.id,
            mode,
            reasons: if mode == Mode::Fresh {
                reasons
            } else {
                Vec::new()
            },
            notes: Vec::new(),
            cached: self.entry.compile_ms.is_none(),
            compile_ms: self.entry.compile_ms.unwrap_or(0),
            code_bytes: std::fs::metadata(code).map_or(0, |code| code.len()),
            image_bytes: image_bytes as u64,
        }
    }
}

fn not_live(reasons: &[String]) -> String {
    format!(
        "renewal = \"live\" is not possible for this component: {}; \
         with renewal = \"auto\" it is served by fresh instances",
        reasons.join("; ")
    )
}

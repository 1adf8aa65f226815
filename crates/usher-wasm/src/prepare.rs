//! Making an image: from an entry of the cache to something that environments are started from.
//!
//! ```text
//! live ─┬ warm-up named ─→ warmed up ─→ answers again ─→ fresh values? ─→ warm image
//!       │                      └ no ─────────┴ no ───────────┴ no ─┐
//!       └ else ─────────────────────────────→ fresh values? ◄──────┘─→ image
//! not live, or frozen values without a warm-up ─→ an instance for each request
//! ```
//!
//! What is found out by asking is kept with the code (`judged`), and not asked again when the image
//! is loaded anew. A warm-up that fails refuses nothing: the image is then one without it, which is
//! always right, and the report says so.
//!
//! Deliberately absent: compilation (`cache`), and environments beyond the first.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::OnceCell;
use usher_api::node::{ImageReport, Mode, PrepareFault};
use usher_core::fault::Blame;
use usher_core::function::{Isolation, RenewalChoice, Revision};
use usher_core::outbound::AllowList;

use crate::cache::Entry;
use crate::compile::{ARTIFACT_FILE, code_file};
use crate::engine::Inner;
use crate::image::{Code, WasmImage};
use crate::judged::Judged;
use crate::lint::{self, Found};
use crate::rehearsal::NotAnswered;
use crate::rewrite::LiveExports;
use crate::started::{NotLive, NotWarm, Start, Started, Warmth};

/// How warm-up requests are signed.
const WARM_UP_AGENT: &str = "usher-warm-up";
/// What is said of a warm-up that no environment would keep.
const UNWARMED: &str = "the warm-up is not served: each environment is a new instance, whose state \
                        is not taken of another one";

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
    pub(crate) async fn finish(
        self,
        inner: &Arc<Inner>,
        tell: &impl Fn(&str),
    ) -> Result<Arc<WasmImage>, PrepareFault> {
        let known = Judged::read(&self.entry.folder, self.revision.id);
        let mut judged = known.clone().unwrap_or_default();
        let (image, sure) = self
            .attempt(inner, tell, &mut judged, known.is_some())
            .await?;
        let anything = judged != Judged::default() || lint::is_wanted(&image);
        if known.is_none() && sure && anything {
            let kept = judged.write(&self.entry.folder, self.revision.id);
            if let Err(error) = kept {
                tracing::warn!(%error, "what was found out about a component is not kept");
            }
        }
        Ok(image)
    }

    /// The image, and whether it would be made the same way again.
    async fn attempt(
        &self,
        inner: &Arc<Inner>,
        tell: &impl Fn(&str),
        judged: &mut Judged,
        known: bool,
    ) -> Result<(Arc<WasmImage>, bool), PrepareFault> {
        let samples = &self.revision.settings.warm_up;
        let Some(exports) = self.code.exports.as_ref() else {
            return Ok((self.fresh(judged, Vec::new())?, true));
        };
        if judged.fresh.is_some() {
            return Ok((self.fresh(judged, Vec::new())?, true));
        }
        let mut sure = true;
        if !samples.is_empty() && judged.cold.is_none() {
            tell("warming up");
            match self.warm(inner, exports, judged, known).await {
                Ok((image, judgement)) => return Ok((image, judgement)),
                Err(NotWarmed { why, again }) => {
                    judged.cold = Some(why);
                    sure = !again;
                }
            }
        }
        let started = match Started::first(inner, self.start(exports)).await {
            Ok(started) => started,
            Err(NotLive::Reason(reason)) => return Ok((self.fresh(judged, vec![reason])?, sure)),
            Err(NotLive::Failed(cause)) => {
                return Err(refused(format!(
                    "the component could not be started: {cause}"
                )));
            }
        };
        let image = self.image(Some((started, None)), judged, Vec::new());
        if known || !lint::is_wanted(&image) {
            return Ok((image, sure));
        }
        tell("looking for frozen values");
        match lint::lint(inner, &image).await {
            Found::Nothing => Ok((image, sure)),
            Found::Unjudged(note) | Found::Unusable(note) => {
                image.notes.lock().push(note);
                Ok((image, false))
            }
            Found::Frozen(why) => {
                judged.fresh = Some(why);
                Ok((self.fresh(judged, Vec::new())?, sure))
            }
        }
    }

    /// The image after the warm-up, if it is one that may serve.
    async fn warm(
        &self,
        inner: &Arc<Inner>,
        exports: &LiveExports,
        judged: &Judged,
        known: bool,
    ) -> Result<(Arc<WasmImage>, bool), NotWarmed> {
        let samples = &self.revision.settings.warm_up;
        let warmed = Started::warm(inner, self.start(exports), samples, WARM_UP_AGENT).await;
        let (started, warmth, answers) = warmed?;
        let told = samples.iter().zip(&answers).map(|(sample, answered)| {
            let (status, took_ms) = (answered.status.as_u16(), answered.took_ms);
            format!("warm-up: {sample} was answered {status} in {took_ms} ms")
        });
        let told: Vec<_> = told.collect();
        let image = self.image(Some((started, Some(warmth))), judged, told);
        if known {
            return Ok((image, true));
        }
        let never = |why| NotWarmed { why, again: false };
        if let Found::Unusable(why) = lint::answers_again(inner, &image).await {
            return Err(never(why));
        }
        if !lint::is_wanted(&image) {
            return Ok((image, true));
        }
        match lint::lint(inner, &image).await {
            Found::Nothing => Ok((image, true)),
            Found::Frozen(why) | Found::Unusable(why) => Err(never(why)),
            Found::Unjudged(note) => {
                image.notes.lock().push(note);
                Ok((image, false))
            }
        }
    }

    fn start<'a>(&'a self, exports: &'a LiveExports) -> Start<'a> {
        Start {
            code: &self.code,
            exports,
            revision: &self.revision,
            allowed: &self.allowed,
            known: &[],
        }
    }

    /// An image without a first environment, each of whose requests gets an instance.
    fn fresh(&self, judged: &Judged, more: Vec<String>) -> Result<Arc<WasmImage>, PrepareFault> {
        let image = self.image(None, judged, more);
        match self.revision.settings.renewal {
            RenewalChoice::Live => Err(refused(not_live(&image.report.reasons))),
            _ => Ok(image),
        }
    }

    /// The image that it comes to. `more` are reasons where it is served fresh, else notes.
    fn image(
        &self,
        first: Option<(Started, Option<Warmth>)>,
        judged: &Judged,
        more: Vec<String>,
    ) -> Arc<WasmImage> {
        let live = first.is_some();
        let (first, warmth) = first.unzip();
        let images = first.as_ref().map(|first| first.areas.images().to_vec());
        let images = images.unwrap_or_default();
        let image_bytes = images.iter().map(|image| image.len()).sum();
        let drew = first.as_ref().is_some_and(|first| first.drew);
        Arc::new(WasmImage {
            revision: self.revision.clone(),
            allowed: self.allowed.clone(),
            code: self.code.clone(),
            artifact: self.entry.folder.join(ARTIFACT_FILE),
            fresh: OnceCell::new(),
            memories: Mutex::new(images),
            warmth: warmth.flatten(),
            drew,
            notes: Mutex::default(),
            first: Mutex::new(first),
            distrusted: AtomicBool::new(!live),
            report: self.report(live, judged, more, image_bytes),
        })
    }
    fn report(
        &self,
        live: bool,
        judged: &Judged,
        more: Vec<String>,
        image_bytes: usize,
    ) -> ImageReport {
        let settings = &self.revision.settings;
        let mode = match settings.isolation {
            Isolation::Key(_) | Isolation::None => Mode::Kept,
            Isolation::Request if live => Mode::Live,
            Isolation::Request => Mode::Fresh,
        };
        let (mut reasons, mut notes) = (Vec::new(), Vec::new());
        match live {
            true => notes.extend(more),
            false => {
                reasons.extend(self.entry.compiled.reasons.iter().cloned());
                reasons.extend(judged.fresh.clone());
                reasons.extend(more);
            }
        }
        if let Some(why) = judged.cold.as_ref().filter(|_| live) {
            notes.push(format!("the image was taken without the warm-up: {why}"));
        }
        if !live && !settings.warm_up.is_empty() {
            notes.push(UNWARMED.into());
        }
        if mode != Mode::Fresh {
            reasons.clear();
        }
        let code = self.entry.folder.join(code_file(self.code.kind));
        ImageReport {
            revision: self.revision.id,
            mode,
            reasons,
            notes,
            cached: self.entry.compile_ms.is_none(),
            compile_ms: self.entry.compile_ms.unwrap_or(0),
            code_bytes: std::fs::metadata(code).map_or(0, |code| code.len()),
            image_bytes: image_bytes as u64,
        }
    }
}

/// Why a warm-up came to nothing, and whether it may come to something another time.
struct NotWarmed {
    why: String,
    again: bool,
}

impl From<NotWarm> for NotWarmed {
    fn from(why: NotWarm) -> Self {
        Self {
            again: matches!(why, NotWarm::NotAnswered(NotAnswered::Slow(_))),
            why: why.to_string(),
        }
    }
}

fn refused(message: String) -> PrepareFault {
    PrepareFault {
        blame: Blame::Function,
        message,
    }
}

fn not_live(reasons: &[String]) -> String {
    format!(
        "renewal = \"live\" is not possible for this component: {}; \
         with renewal = \"auto\" it is served by fresh instances",
        reasons.join("; ")
    )
}

//! The freshness lint of components: before a revision serves anybody, what it answers from its
//! image is compared with what instances answer that were started separately and not warmed up.
//!
//! ```text
//! of the image   asked ─ put back .......................... asked ─ put back ─ asked ─ put back …
//! cold                 started ─ asked ─ dropped, three times
//! ```
//!
//! A value that is the same from the image each time, and another one from each cold instance, is
//! frozen: it was drawn, or looked up, before the image was taken. Only two things can have done
//! that: a warm-up, or a start function that asked for a clock or a random value. Where there was
//! neither, every instance begins with the same bytes, and nothing is asked.
//!
//! Deliberately absent: the judgement, which is `usher_core::freshness`'s, and what follows from it
//! (`prepare`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;
use usher_core::freshness::{Asked, Finding, GOING_ON_MIN, RENEWED_MIN, judge};
use usher_core::function::{Isolation, LintChoice, Sample};
use usher_engine::ask::{Answered, Unanswered, whole};
use usher_engine::{Environment as _, RenewError, Run, Used as _};

use crate::engine::Inner;
use crate::environment::{Kind, WasmEnvironment, WasmUsed};
use crate::image::WasmImage;
use crate::rehearsal::{self, NotAnswered, Rehearsal, bounded};
use crate::report::Alive;
use crate::started::{NotLive, Started};

/// How long all of it may take, in milliseconds.
const LINT_MAX_MS: u64 = 10_000;
/// Findings that are told one by one.
const TOLD_MAX: usize = 3;
/// How the requests are signed.
const AGENT: &str = "usher-lint";

/// What the lint came to.
pub(crate) enum Found {
    /// Nothing that is frozen.
    Nothing,
    /// Values that are: a sentence about them.
    Frozen(String),
    /// The image does not answer what it should: a sentence about it.
    Unusable(String),
    /// No judgement: a sentence about it.
    Unjudged(String),
}

/// Why there is no judgement.
#[derive(Debug, thiserror::Error)]
enum Unjudged {
    #[error("it took longer than {LINT_MAX_MS} ms")]
    Late,
    #[error(transparent)]
    NotAnswered(#[from] NotAnswered),
    #[error("every request was answered with an error, such as {status} to {request}")]
    Errors { request: String, status: u16 },
    #[error("an environment could not be started: {0}")]
    Start(#[from] NotLive),
    #[error("an environment could not be put back: {0}")]
    NotPutBack(RenewError),
}

/// Whether something can be frozen in this image, and its manifest wants to know.
pub(crate) fn is_wanted(image: &WasmImage) -> bool {
    let settings = &image.revision.settings;
    // Where state is kept, each environment that was not warmed up has drawn for itself.
    let renewed = settings.isolation == Isolation::Request;
    let can_be_frozen = image.warmth.is_some() || (image.drew && renewed);
    settings.lint.freshness == LintChoice::On && can_be_frozen
}

/// Looks for values that are frozen in a live image.
pub(crate) async fn lint(inner: &Arc<Inner>, image: &Arc<WasmImage>) -> Found {
    let samples = image.revision.settings.lint_samples();
    let wait = Duration::from_millis(LINT_MAX_MS);
    let looking = timeout(wait, look(inner, image, &samples));
    let asked = match looking.await.unwrap_or(Err(Unjudged::Late)) {
        Ok(asked) => asked,
        Err(why) => {
            return Found::Unjudged(format!(
                "The freshness lint came to no judgement: {why}; [lint] says what it asks."
            ));
        }
    };
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH);
    let findings = judge(&asked, now_s.map_or(0, |now| now.as_secs()));
    let frozen: Vec<_> = findings.iter().filter(|it| it.kind.is_frozen()).collect();
    match frozen.is_empty() {
        true => Found::Nothing,
        false => Found::Frozen(told(&frozen)),
    }
}

/// Whether an image still answers what warmed it up.
pub(crate) async fn answers_again(inner: &Arc<Inner>, image: &Arc<WasmImage>) -> Found {
    let mut renewed = Renewed::new(inner, image);
    for sample in &image.revision.settings.warm_up {
        let why = match renewed.ask(sample, Rehearsal::default()).await {
            Ok(answered) if !answered.is_error() => continue,
            Ok(answered) => format!("it is answered {} now", answered.status.as_u16()),
            Err(why) => why.to_string(),
        };
        return Found::Unusable(format!(
            "{sample} was answered once and not once more from the image that was taken then \
             ({why})"
        ));
    }
    Found::Nothing
}

fn told(frozen: &[&Finding]) -> String {
    let told = frozen.iter().take(TOLD_MAX).map(ToString::to_string);
    let told = told.collect::<Vec<_>>().join("; ");
    let more = match frozen.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!(
        "the freshness lint found that {told}{more}. Draw that in each request, or write \
         freshness = \"off\" under [lint] if it may repeat"
    )
}

async fn look(
    inner: &Arc<Inner>,
    image: &Arc<WasmImage>,
    samples: &[Sample],
) -> Result<Vec<Asked>, Unjudged> {
    let mut renewed = Renewed::new(inner, image);
    let mut rehearsal = Rehearsal::default();
    let mut all = Vec::new();
    let mut errors = 0;
    let mut status = 0;
    for sample in samples {
        let answered = renewed.ask(sample, rehearsal).await?;
        errors += usize::from(answered.is_error());
        status = answered.status.as_u16();
        all.push(Asked {
            request: sample.to_string(),
            renewed: vec![answered.looked_at()],
            going_on: Vec::new(),
        });
    }
    if errors == samples.len() {
        let request = samples.last().map(ToString::to_string).unwrap_or_default();
        return Err(Unjudged::Errors { request, status });
    }
    for _ in 0..GOING_ON_MIN {
        rehearsal = rehearsal.next();
        for (sample, asked) in samples.iter().zip(&mut all) {
            let (_, answered) = once(cold(inner, image).await?, sample, rehearsal).await?;
            asked.going_on.push(answered.looked_at());
        }
    }
    for _ in 1..RENEWED_MIN {
        rehearsal = rehearsal.next();
        for (sample, asked) in samples.iter().zip(&mut all) {
            let answered = renewed.ask(sample, rehearsal).await?;
            asked.renewed.push(answered.looked_at());
        }
    }
    Ok(all)
}

/// An environment of the image, put back after each answer.
struct Renewed<'a> {
    inner: &'a Arc<Inner>,
    image: &'a Arc<WasmImage>,
    environment: Option<WasmEnvironment>,
}

impl<'a> Renewed<'a> {
    fn new(inner: &'a Arc<Inner>, image: &'a Arc<WasmImage>) -> Self {
        Self {
            inner,
            image,
            environment: None,
        }
    }

    async fn ask(&mut self, sample: &Sample, rehearsal: Rehearsal) -> Result<Answered, Unjudged> {
        let environment = match self.environment.take() {
            Some(environment) => environment,
            None => of_image(self.inner, self.image).await?,
        };
        let (used, answered) = once(environment, sample, rehearsal).await?;
        match used.renew(true).await {
            Ok(renewed) => self.environment = Some(renewed.clean),
            // Another one of the same image is as good.
            Err(RenewError::Leftover(_)) => {}
            Err(failed) => return Err(Unjudged::NotPutBack(failed)),
        }
        Ok(answered)
    }
}

async fn of_image(inner: &Arc<Inner>, image: &Arc<WasmImage>) -> Result<WasmEnvironment, NotLive> {
    if let Some(first) = image.first.lock().take() {
        return Ok(joined(inner, image, first));
    }
    let started = image.started(inner).await?;
    Ok(joined(inner, image, started))
}

/// An environment that begins as if there had been no warm-up, and no other one.
async fn cold(inner: &Arc<Inner>, image: &Arc<WasmImage>) -> Result<WasmEnvironment, NotLive> {
    let exports = image.exports()?;
    let started = Started::first(inner, image.start(exports, &[])).await?;
    Ok(joined(inner, image, started))
}

fn joined(inner: &Arc<Inner>, image: &Arc<WasmImage>, started: Started) -> WasmEnvironment {
    let live = started.of(image.clone(), Alive::count(&inner.counters));
    WasmEnvironment {
        inner: inner.clone(),
        kind: Kind::Live(live),
    }
}

async fn once(
    environment: WasmEnvironment,
    sample: &Sample,
    rehearsal: Rehearsal,
) -> Result<(WasmUsed, Answered), NotAnswered> {
    let call = rehearsal::call(sample, AGENT)?;
    let begun = Instant::now();
    let asked = async {
        let Run { reply, over, .. } = environment.rehearsing(rehearsal).run(call).await;
        let answered: Result<(WasmUsed, Answered), Unanswered> = whole(reply, over, begun).await;
        answered
    };
    bounded(sample, asked).await
}

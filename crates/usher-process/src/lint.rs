//! The freshness lint of programs: at deployment a program that is put back is asked the same some
//! times, and beside it another one that goes on.
//!
//! ```text
//! first    asked ─ put back ............................. asked ─ put back ─ asked ─ put back …
//! another    started ─ asked ─ asked ─ asked ─ ended
//! ```
//!
//! What is judged is what a caller would see; what the program says of itself does not count. Where
//! a value is repeated that would have been new, programs of the image are replaced from then on.
//! Where no judgement is come to, a note says so, and nothing else changes: that the lint finds
//! nothing is no proof, so that nothing rests on it.
//!
//! Deliberately absent: the judgement, which is `usher_core::freshness`'s.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use usher_core::freshness::{Asked, Finding, GOING_ON_MIN, RENEWED_MIN, judge};
use usher_core::function::{LintChoice, Sample};

use crate::ask::{Answered, Unanswered, ask};
use crate::engine::Inner;
use crate::image::ProcessImage;
use crate::renewal::Aside;
use crate::restorable::Failed;
use crate::served::Served;
use crate::start::{NotStarted, started};

/// How long one answer may take, in milliseconds: who is slow is not waited for each time that its
/// revision is loaded.
const ANSWER_MAX_MS: u64 = 2_000;
/// How long all of it may take beyond the start of another program, in milliseconds.
const LINT_MAX_MS: u64 = 5_000;
/// Findings that are told one by one.
const TOLD_MAX: usize = 3;
/// How the requests are signed.
const AGENT: &str = "usher-lint";

/// Why no judgement is come to.
#[derive(Debug, thiserror::Error)]
enum Unjudged {
    #[error("it took longer than {LINT_MAX_MS} ms, the start of another program left out")]
    Late,
    #[error("{request} was not answered within {ANSWER_MAX_MS} ms")]
    Slow { request: String },
    #[error("{request} was not answered: {source}")]
    Unanswered { request: String, source: Unanswered },
    #[error("every request was answered with an error, such as {status} to {request}")]
    Errors { request: String, status: u16 },
    #[error("the program could not be put back: {0}")]
    NotPutBack(#[from] Failed),
    #[error("the area that it had used could not be made clean: {0}")]
    Scrub(#[source] std::io::Error),
    #[error("there was nothing to put the program back to")]
    Kept,
    #[error("another program did not start: {0}")]
    Another(#[from] NotStarted),
}

/// Whether there is something to look for: the program is put back, and its manifest does not
/// decline.
pub(crate) fn is_wanted(image: &ProcessImage, served: &Served) -> bool {
    let on = image.revision.settings.lint.freshness == LintChoice::On;
    on && image.is_put_back() && served.restorable.is_some()
}

/// Looks for values that a put-back repeats, and does with the image what follows. Gives the
/// program back, put back, if it is of use.
pub(crate) async fn lint(
    inner: &Arc<Inner>,
    image: &Arc<ProcessImage>,
    served: Served,
) -> Option<Served> {
    let wait_max_ms = image.revision.settings.limits.start_max_ms + LINT_MAX_MS;
    let wait = Duration::from_millis(wait_max_ms);
    let looking = timeout(wait, look(inner, image, served));
    let (served, asked) = match looking.await.unwrap_or(Err(Unjudged::Late)) {
        Ok(looked) => looked,
        Err(why) => {
            if let Unjudged::NotPutBack(failed) = &why {
                image.renewable.failed(&failed.to_string());
            }
            let text = format!("the freshness lint came to no judgement: {why}");
            image.note(format!("{text}; [lint] says what it asks."));
            return None;
        }
    };
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH);
    let findings = judge(&asked, now_s.map_or(0, |now| now.as_secs()));
    let (frozen, others): (Vec<_>, Vec<_>) = findings
        .iter()
        .partition(|finding| finding.kind.is_frozen());
    for finding in others {
        image.note(format!("The freshness lint found that {finding}."));
    }
    if frozen.is_empty() {
        return Some(served);
    }
    let why = reason(&frozen);
    let function = &image.revision.function;
    tracing::warn!(%function, why, "programs are replaced instead of put back");
    image.renewable.give_up(why);
    // What this one would answer has been answered already.
    None
}

fn reason(frozen: &[&Finding]) -> String {
    let told = frozen.iter().take(TOLD_MAX).map(ToString::to_string);
    let told = told.collect::<Vec<_>>().join("; ");
    let more = match frozen.len().saturating_sub(TOLD_MAX) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!(
        "the freshness lint found that {told}{more}. Make that fresh when the program is told of a \
         put-back, or write freshness = \"off\" under [lint] if it may repeat"
    )
}

/// Asks both programs.
async fn look(
    inner: &Arc<Inner>,
    image: &Arc<ProcessImage>,
    mut served: Served,
) -> Result<(Served, Vec<Asked>), Unjudged> {
    let samples = image.revision.settings.lint_samples();
    served.output.mute(true);
    let mut all = Vec::new();
    let mut errors = 0;
    let mut status = 0;
    for sample in &samples {
        let answered;
        (served, answered) = once(inner, image, served, sample).await?;
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
    let mut another = started(inner, image).await?;
    for _ in 0..GOING_ON_MIN {
        for (sample, asked) in samples.iter().zip(&mut all) {
            let answered;
            (another, answered) = asked_once(another, image, sample).await?;
            asked.going_on.push(answered.looked_at());
        }
    }
    drop(another);
    for _ in 1..RENEWED_MIN {
        for (sample, asked) in samples.iter().zip(&mut all) {
            let answered;
            (served, answered) = once(inner, image, served, sample).await?;
            asked.renewed.push(answered.looked_at());
        }
    }
    served.output.mute(false);
    Ok((served, all))
}

/// Asks a program, and puts it back.
async fn once(
    inner: &Arc<Inner>,
    image: &Arc<ProcessImage>,
    served: Served,
    sample: &Sample,
) -> Result<(Served, Answered), Unjudged> {
    let (served, answered) = asked_once(served, image, sample).await?;
    let back = served.put_back(false, &inner.injected).await;
    let (served, back) = back.ok_or(Unjudged::Kept)??;
    // Nobody waits for the next run, so that what the former one has left need not be kept.
    let scrubbing = spawn_blocking(|| back.aside.map_or(Ok(0), Aside::scrub));
    let scrubbed = scrubbing.await.unwrap_or_else(|lost| Err(lost.into()));
    scrubbed.map_err(Unjudged::Scrub)?;
    Ok((served, answered))
}

async fn asked_once(
    served: Served,
    image: &ProcessImage,
    sample: &Sample,
) -> Result<(Served, Answered), Unjudged> {
    let request = || sample.to_string();
    let wait = Duration::from_millis(ANSWER_MAX_MS);
    match timeout(wait, ask(served, image, sample, AGENT)).await {
        Ok(asked) => asked.map_err(|source| Unjudged::Unanswered {
            request: request(),
            source,
        }),
        Err(_) => Err(Unjudged::Slow { request: request() }),
    }
}

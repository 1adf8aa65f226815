//! The warm-up of a new program: requests of its manifest that it serves before its state is taken
//! and before it serves anybody.
//!
//! They are part of its start: what they need counts towards `limits.start_max_ms`, and one that is
//! answered with an error fails it. They are no requests to the platform, so that no counter knows
//! of them; the log of the program's first request has a sentence for each.
//!
//! Deliberately absent: requests of callers, of which none ever gets here.

use std::sync::Arc;

use crate::ask::ask;
use crate::image::ProcessImage;
use crate::served::Served;
use crate::start::NotStarted;

/// How these requests are signed.
const AGENT: &str = "usher-warm-up";
/// How much of an answer with an error is told, in characters.
const TOLD_MAX_CHARS: usize = 200;

/// Serves the requests in their order.
///
/// # Errors
/// If one is not answered, or with an error.
pub(crate) async fn warm_up(
    mut served: Served,
    image: &Arc<ProcessImage>,
) -> Result<Served, NotStarted> {
    for sample in &image.revision.settings.warm_up {
        let told = served.output.told_later();
        let failed = |why: String| NotStarted::WarmUp {
            request: sample.to_string(),
            why,
            told: told(),
        };
        let asked = ask(served, image, sample, AGENT).await;
        let (still, answered) = asked.map_err(|error| failed(format!("failed: {error}")))?;
        let status = answered.status.as_u16();
        if answered.is_error() {
            let body = String::from_utf8_lossy(&answered.body);
            let body: String = body.chars().take(TOLD_MAX_CHARS).collect();
            return Err(failed(format!("was answered {status}: {body}")));
        }
        let took_ms = answered.took_ms;
        let text = format!("warm-up: {sample} was answered {status} in {took_ms} ms");
        still.output.note(text);
        served = still;
    }
    Ok(served)
}

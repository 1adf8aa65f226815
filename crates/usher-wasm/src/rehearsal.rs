//! Runs that the platform makes itself, with no caller behind them: to warm an instance up before
//! its image is taken, and to look for values that would be frozen with the image.
//!
//! Nothing may come of them outside: no request goes out, and what the guest writes is not kept.
//! The wall clock goes ahead by what the run is told, so that two runs which are microseconds apart
//! are told times that differ in every unit that a guest may round them to.
//!
//! Deliberately absent: what is asked (`warm_up`, `lint`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::time::timeout;
use usher_core::function::{Limits, Sample};
use usher_core::id::RequestId;
use usher_engine::ask::{self, Answered, Unanswered};
use usher_engine::{Call, GuestOutput, GuestStream, Over};
use wasmtime_wasi::HostWallClock;

use crate::run::{Guest, Ran, RanOver, run};

/// How long one answer may take, in milliseconds.
pub(crate) const ANSWER_MAX_MS: u64 = 2_000;
/// What the clock of the next run is further ahead, in seconds: over an hour, a minute and a
/// second.
const AHEAD_S: u64 = 3_661;

/// What a run without a caller is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rehearsal {
    /// How far its wall clock is ahead.
    pub(crate) ahead: Duration,
}

impl Rehearsal {
    /// The next one.
    pub(crate) fn next(self) -> Self {
        let ahead = self.ahead + Duration::from_secs(AHEAD_S);
        Self { ahead }
    }
}

/// The machine's wall clock, gone ahead.
pub(crate) struct Shifted(pub(crate) Duration);

impl HostWallClock for Shifted {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default() + self.0
    }
}

/// Takes what nobody is to read.
struct Unheard;

impl GuestOutput for Unheard {
    fn write(&self, _: RequestId, _: GuestStream, _: &[u8]) {}

    fn note(&self, _: RequestId, _: &str) {}
}

/// Why a rehearsal came to nothing. Its guest is gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAnswered {
    #[error("{0} was not answered within {ANSWER_MAX_MS} ms")]
    Slow(String),
    #[error("{request} was not answered: {source}")]
    Failed { request: String, source: Unanswered },
}

/// The call that a sample is.
pub(crate) fn call(sample: &Sample, agent: &'static str) -> Result<Call, NotAnswered> {
    let request = ask::request(sample, agent).map_err(|source| failed(sample, source.into()))?;
    Ok(Call {
        request_id: RequestId(rand::random()),
        request,
        output: Arc::new(Unheard),
    })
}

/// Asks a guest that has no environment around it yet.
pub(crate) async fn rehearse(
    mut guest: Guest,
    sample: &Sample,
    agent: &'static str,
    rehearsal: Rehearsal,
    limits: &Limits,
) -> Result<(Guest, Answered), NotAnswered> {
    let call = call(sample, agent)?;
    guest.store.data_mut().rehearse(Some(rehearsal));
    let begun = Instant::now();
    let asked = async {
        let Ran { reply, over } = run(guest, call, limits, false).await;
        let over: Over<Guest> = match over {
            RanOver::Now(left) => Over::Now(left),
            RanOver::Later(rest) => Over::Later(rest),
        };
        ask::whole(reply, over, begun).await
    };
    bounded(sample, asked).await
}

/// Waits for an answer, as long as one may take.
pub(crate) async fn bounded<T>(
    sample: &Sample,
    asked: impl Future<Output = Result<T, Unanswered>>,
) -> Result<T, NotAnswered> {
    let wait = Duration::from_millis(ANSWER_MAX_MS);
    match timeout(wait, asked).await {
        Ok(answered) => answered.map_err(|source| failed(sample, source)),
        Err(_) => Err(NotAnswered::Slow(sample.to_string())),
    }
}

fn failed(sample: &Sample, source: Unanswered) -> NotAnswered {
    let request = sample.to_string();
    NotAnswered::Failed { request, source }
}

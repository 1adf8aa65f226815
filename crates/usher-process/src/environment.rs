//! The environments of this engine behind the traits that all engines have: a program each.
//!
//! ```text
//! start ─► ready ─run→ used ─renew→ the same program, its memory swapped, or put back in place
//!    │       │           │      └──→ another program, in another sandbox
//!    │       │           └──keep──→ the same program, its state kept on purpose
//!    │       └ swapped, and its pages are where they were: the run is refused, the program ended
//!    └► broken (a Lambda function whose initialisation failed) ─run→ answered so, and gone
//! ```
//!
//! A program that cannot be put back, or was not for whatever reason, is killed before another one
//! is started, in another sandbox, so that nothing secret stays.
//!
//! Deliberately absent: how a program is called (`run`) and started (`start`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use usher_core::fault::Fault;
use usher_core::id::EnvironmentId;
use usher_core::proof::Renewal;
use usher_core::renewal::choice::Way;
use usher_engine::number::environment_id;
use usher_engine::{
    Behind, Call, Ended, Environment, Over, RenewError, Renewed, Run, StartError, Used, UsedFacts,
};

use crate::areas::Areas;
use crate::contract::lambda::Style;
use crate::engine::{Counters, Inner};
use crate::failure::Answers;
use crate::image::ProcessImage;
use crate::renewal::Back;
use crate::restorable::Failed;
use crate::run::run;
use crate::served::Served;
use crate::start::{NotStarted, start};

/// A clean environment: a program that has served nothing, or one whose state is kept on purpose.
pub struct ProcessEnvironment {
    home: Home,
    state: State,
    record: Record,
}

/// An environment that has run a request.
pub struct ProcessUsed {
    home: Home,
    held: Box<Held>,
    record: Record,
}

/// Where an environment belongs.
#[derive(Clone)]
struct Home {
    inner: Arc<Inner>,
    image: Arc<ProcessImage>,
}

enum State {
    Ready(Box<Held>),
    /// A Lambda function whose initialisation failed: its callers are answered so, as AWS does.
    Broken(NotStarted),
}

/// What stands on record about an environment.
struct Record {
    id: EnvironmentId,
    areas: Arc<Areas>,
    renewal: Renewal,
    renew_us: u32,
    _alive: Alive,
}

/// Counts an environment for as long as it exists.
struct Alive(Arc<Counters>);

impl Alive {
    fn count(counters: &Arc<Counters>) -> Self {
        counters.alive.fetch_add(1, Ordering::SeqCst);
        Self(counters.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A program that nobody calls. If it goes then, one whose state was kept is asked to end and given
/// time; any other is ended at once.
struct Held {
    served: Option<Served>,
    home: Home,
}

impl Held {
    fn take(mut self) -> Option<Served> {
        self.served.take()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(served) = self.served.take()
            && self.home.image.keeps()
        {
            let limits = &self.home.image.revision.settings.limits;
            self.home.inner.endings.begin(served, limits);
        }
    }
}

impl Home {
    fn held(&self, served: Served) -> Box<Held> {
        Box::new(Held {
            served: Some(served),
            home: self.clone(),
        })
    }

    /// A record for a new program. `replaced`: it takes another one's place, which took so long.
    fn record(&self, replaced: Option<Instant>) -> Record {
        let id = environment_id();
        Record {
            id,
            areas: Arc::new(Areas::of(id, self.image.revision.id)),
            renewal: match replaced {
                Some(_) => Renewal::Replaced,
                None => Renewal::Fresh,
            },
            renew_us: replaced.map_or(0, micros),
            _alive: Alive::count(&self.inner.counters),
        }
    }

    /// Tells that a program had to be replaced.
    fn not_put_back(&self, failed: &Failed) {
        let why = failed.to_string();
        let function = &self.image.revision.function;
        tracing::info!(%function, why, "a program was not put back, and is replaced");
        self.image.renewable.failed(&why);
        let counters = &self.inner.counters;
        *counters.latest_not_put_back.lock() = Some(why);
        counters.not_put_back.fetch_add(1, Ordering::Relaxed);
    }

    /// A new program; see [`Home::record`].
    async fn start(self, replaced: Option<Instant>) -> Result<ProcessEnvironment, NotStarted> {
        // Boxed: it is large and seldom needed, and would be room in the future of each run.
        let state = match Box::pin(start(&self.inner, &self.image)).await {
            Ok(served) => State::Ready(self.held(served)),
            Err(error) if self.image.is_lambda() && error.is_init() => State::Broken(error),
            Err(error) => return Err(error),
        };
        Ok(ProcessEnvironment {
            state,
            record: self.record(replaced),
            home: self,
        })
    }
}

impl ProcessEnvironment {
    /// A new environment.
    pub(crate) async fn start(
        inner: &Arc<Inner>,
        image: &Arc<ProcessImage>,
    ) -> Result<Self, StartError> {
        let home = Home {
            inner: inner.clone(),
            image: image.clone(),
        };
        home.start(None).await.map_err(|error| StartError {
            fault: error.fault(),
            cause: error.to_string(),
        })
    }

    /// The environment of a program that was started before anybody needed it.
    pub(crate) fn of(inner: &Arc<Inner>, image: &Arc<ProcessImage>, served: Served) -> Self {
        let home = Home {
            inner: inner.clone(),
            image: image.clone(),
        };
        Self {
            state: State::Ready(home.held(served)),
            record: home.record(None),
            home,
        }
    }
}

impl Environment for ProcessEnvironment {
    type Used = ProcessUsed;

    fn id(&self) -> EnvironmentId {
        self.record.id
    }

    async fn run(mut self, call: Call) -> Run<ProcessUsed> {
        if let State::Ready(held) = &self.state
            && held
                .served
                .as_ref()
                .is_none_or(|served| served.exited().is_some())
        {
            // It went away while nobody called it, and its state with it: the call gets a new one.
            self = match self.home.clone().start(Some(Instant::now())).await {
                Ok(new) => new,
                Err(error) => return not_begun(self.record.facts(), error.fault(), &error),
            };
        }
        let Self {
            home,
            state,
            record,
        } = self;
        let facts = record.facts();
        let served = match state {
            State::Ready(held) => match record.determine(&held) {
                Ok(()) => held.take(),
                Err(cause) => return refused(facts, cause),
            },
            State::Broken(error) => return broken(facts, &call, &error),
        };
        let Some(served) = served else {
            let cause = "an environment without a program was called";
            return not_begun(facts, Fault::Unavailable, &cause);
        };
        let limits = &home.image.revision.settings.limits;
        let again = home.image.keeps() || served.restorable.is_some();
        let (reply, over) = run(served, call, limits, again).await;
        let used = move |served: Served| ProcessUsed {
            held: home.held(served),
            home,
            record,
        };
        let over = match over {
            Over::Now(Ok(served)) => Over::Now(Ok(used(served))),
            Over::Now(Err(ended)) => {
                drop(used);
                Over::Now(Err(ended))
            }
            Over::Later(later) => Over::Later(Box::pin(async move { later.await.map(used) })),
        };
        Run { reply, facts, over }
    }
}

/// A call whose environment could not be shown to be in another area; it is ended.
fn refused(facts: UsedFacts, cause: String) -> Run<ProcessUsed> {
    tracing::error!(environment = facts.environment.0, %cause, "environment quarantined");
    Run {
        reply: Err((Fault::Unavailable, cause.clone())),
        facts,
        over: Over::Now(Err(Ended::Quarantined { cause })),
    }
}

/// A call that did not reach a program.
fn not_begun(facts: UsedFacts, fault: Fault, cause: &dyn ToString) -> Run<ProcessUsed> {
    let cause = cause.to_string();
    Run {
        reply: Err((fault.clone(), cause.clone())),
        facts,
        over: Over::Now(Err(Ended::Destroyed { fault, cause })),
    }
}

fn broken(facts: UsedFacts, call: &Call, error: &NotStarted) -> Run<ProcessUsed> {
    let style = Style::of(&call.request);
    let mut run = not_begun(facts, error.fault(), error);
    if let Some(response) = Answers::Lambda(style).not_started(call.request_id, error) {
        call.output.note(call.request_id, &error.to_string());
        run.reply = Ok(response);
    }
    run
}

impl Used for ProcessUsed {
    type Clean = ProcessEnvironment;

    async fn renew(self, audit: bool) -> Result<Renewed<ProcessEnvironment>, RenewError> {
        let Self {
            home,
            held,
            mut record,
        } = self;
        let begun = Instant::now();
        let served = held.take().filter(|_| home.image.is_put_back());
        let back = match served {
            Some(served) => served.put_back(audit, &home.inner.injected).await,
            None => None,
        };
        match back {
            Some(Ok((served, back))) => {
                home.image.renewable.succeeded();
                let counters = &home.inner.counters;
                if back.way == Way::Swap {
                    counters.swaps.fetch_add(1, Ordering::Relaxed);
                    let swap_us = back.swap_ns / 1_000;
                    counters.swap_us.fetch_add(swap_us, Ordering::Relaxed);
                }
                let behind = record.put_back(back, micros(begun));
                let behind = behind.map_err(RenewError::Failed)?;
                let clean = ProcessEnvironment {
                    state: State::Ready(home.held(served)),
                    home,
                    record,
                };
                return Ok(Renewed { clean, behind });
            }
            Some(Err(failed)) if failed.is_audit() => {
                return Err(RenewError::AuditFailed(failed.to_string()));
            }
            Some(Err(failed)) => home.not_put_back(&failed),
            None => {}
        }
        drop(record);
        let another = home.start(Some(begun)).await;
        Ok(Renewed {
            clean: another.map_err(|error| RenewError::Failed(error.to_string()))?,
            behind: None,
        })
    }

    fn keep(self) -> Result<ProcessEnvironment, RenewError> {
        let Self {
            home,
            held,
            mut record,
        } = self;
        if !home.image.keeps() {
            return Err(RenewError::Failed(
                "its revision does not keep state".into(),
            ));
        }
        if let Some(exit) = held.served.as_ref().and_then(Served::exited) {
            let how = crate::failure::ended(&exit);
            return Err(RenewError::Leftover(format!(
                "the program {how} after its reply"
            )));
        }
        record.areas.again();
        record.renewal = Renewal::Kept;
        record.renew_us = 0;
        Ok(ProcessEnvironment {
            state: State::Ready(held),
            home,
            record,
        })
    }
}

impl Record {
    /// The same program serves again, and is what it was. What is left to do behind its next run is
    /// returned.
    fn put_back(&mut self, back: Back, took_us: u32) -> Result<Option<Behind>, String> {
        let Back { way, aside, .. } = back;
        self.renew_us = took_us;
        if way == Way::InPlace {
            self.areas.again();
            self.renewal = Renewal::InPlace;
            return Ok(None);
        }
        let left = self.areas.turn(aside)?;
        self.renewal = Renewal::Swap;
        let areas = self.areas.clone();
        Ok(Some(Behind::new(move || {
            if let Err(error) = areas.scrub(left) {
                // The ledger keeps such an area from ever being current again.
                tracing::error!(%error, "a used area was not scrubbed");
            }
        })))
    }

    /// Whether the program is in the area that the ledger names, where another one has to be shown
    /// than in the run before.
    fn determine(&self, held: &Held) -> Result<(), String> {
        match (&held.served, self.renewal) {
            (Some(served), Renewal::Swap) => served.determine(),
            _ => Ok(()),
        }
    }

    fn facts(&self) -> UsedFacts {
        let current = self.areas.current();
        UsedFacts {
            environment: self.id,
            area: current.area,
            generation: current.generation,
            renewal: self.renewal,
            renew_us: self.renew_us,
        }
    }
}

/// Since then, rounded up.
fn micros(begun: Instant) -> u32 {
    let nanos = begun.elapsed().as_nanos();
    u32::try_from(nanos.div_ceil(1_000)).unwrap_or(u32::MAX)
}

//! The fake environment before and after a run.
//!
//! ```text
//! FakeEnvironment ─run→ FakeUsed ─renew→ FakeEnvironment: the pointer names the other area,
//!                                                         or all is new
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use usher_core::fault::{Fault, TimeLimit};
use usher_core::id::{AreaId, EnvironmentId, Generation};
use usher_core::proof::Renewal;

use super::guest::{Answer, Rest, Visit};
use super::memory::Memory;
use super::{FakeImage, Shared};
use crate::call::Call;
use crate::environment::{
    Behind, Ended, Environment, Over, RenewError, Renewed, Run, Used, UsedFacts,
};
use crate::number;

/// A clean environment.
pub struct FakeEnvironment(Inner);

/// An environment after a run.
pub struct FakeUsed(Inner);

struct Inner {
    image: Arc<FakeImage>,
    shared: Arc<Shared>,
    memory: Arc<Memory>,
    record: Record,
    _alive: Alive,
}

/// What the engine believes; the pointer itself stands in [`Memory`].
struct Record {
    id: EnvironmentId,
    areas: [(AreaId, Generation); 2],
    current: usize,
    renewal: Renewal,
}

struct Alive(Arc<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.counts.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inner {
    fn new(image: Arc<FakeImage>, shared: Arc<Shared>) -> Self {
        shared.counts.alive.fetch_add(1, Ordering::SeqCst);
        let [one, other] = number::area_ids();
        Self {
            memory: Arc::new(Memory::new(&image.bytes)),
            record: Record {
                id: number::environment_id(),
                areas: [(one, Generation(1)), (other, Generation(0))],
                current: 0,
                renewal: Renewal::Fresh,
            },
            _alive: Alive(shared.clone()),
            image,
            shared,
        }
    }

    fn facts(&self) -> UsedFacts {
        let (area, generation) = self.record.areas[self.record.current];
        UsedFacts {
            environment: self.record.id,
            area,
            generation,
            renewal: self.record.renewal,
            renew_us: u32::from(self.record.renewal == Renewal::Swap),
        }
    }

    /// Reads the pointer itself, and compares it with the record.
    fn determine(&self) -> Result<(), String> {
        let (read, expected) = (self.memory.pointer(), self.record.current);
        if read == expected {
            Ok(())
        } else {
            Err(format!(
                "the pointer names area {read}, the record {expected}"
            ))
        }
    }

    fn swap(mut self) -> Renewed<FakeEnvironment> {
        let used = self.record.current;
        let next = 1 - used;
        let image = self.image.bytes.clone();
        self.memory.scrub(next, &image);
        if !self.shared.trouble.skip_swap.load(Ordering::SeqCst) {
            self.memory.point(next);
        }
        if self.shared.trouble.spoil_renewal.load(Ordering::SeqCst) {
            self.memory.spoil(next);
        }
        self.record.current = next;
        self.record.areas[next].1.0 += 1;
        self.record.renewal = Renewal::Swap;
        let (memory, shared) = (self.memory.clone(), self.shared.clone());
        Renewed {
            clean: FakeEnvironment(self),
            behind: Some(Behind::new(move || {
                memory.scrub(used, &image);
                shared.counts.scrubbed.fetch_add(1, Ordering::SeqCst);
            })),
        }
    }

    /// A new environment, made before the old one is dropped.
    fn replace(self) -> Renewed<FakeEnvironment> {
        let fresh = Self::new(self.image.clone(), self.shared.clone());
        let shared = self.shared.clone();
        Renewed {
            clean: FakeEnvironment(fresh),
            behind: Some(Behind::new(move || {
                drop(self);
                shared.counts.scrubbed.fetch_add(1, Ordering::SeqCst);
            })),
        }
    }
}

impl FakeEnvironment {
    pub(super) fn new(image: Arc<FakeImage>, shared: Arc<Shared>) -> Self {
        Self(Inner::new(image, shared))
    }
}

impl Environment for FakeEnvironment {
    type Used = FakeUsed;

    fn id(&self) -> EnvironmentId {
        self.0.record.id
    }

    async fn run(self, call: Call) -> Run<FakeUsed> {
        let inner = self.0;
        let facts = inner.facts();
        let failed = |fault: Fault, cause: String, ended| Run {
            reply: Err((fault, cause)),
            facts,
            over: Over::Now(Err(ended)),
        };
        if let Err(cause) = inner.determine() {
            let ended = Ended::Quarantined {
                cause: cause.clone(),
            };
            return failed(Fault::Unavailable, cause, ended);
        }
        let visit = Visit {
            request: call.request,
            request_id: call.request_id,
            output: call.output,
            memory: inner.memory.clone(),
            limits: inner.image.revision.settings.limits.clone(),
        };
        let limit_ms = visit.limits.first_byte_max_ms;
        let running = (inner.image.guest)(visit);
        let answer = tokio::time::timeout(Duration::from_millis(limit_ms), running).await;
        let answer = answer.unwrap_or_else(|_| {
            let limit = TimeLimit::FirstByte;
            Err((
                Fault::TimeOut { limit, limit_ms },
                "no head came".to_owned(),
            ))
        });
        match answer {
            Ok(Answer { response, rest }) => Run {
                reply: Ok(response),
                facts,
                over: match rest {
                    None => Over::Now(Ok(FakeUsed(inner))),
                    Some(rest) => Over::Later(Box::pin(finish(inner, rest))),
                },
            },
            Err((fault, cause)) => {
                let ended = Ended::Destroyed {
                    fault: fault.clone(),
                    cause: cause.clone(),
                };
                failed(fault, cause, ended)
            }
        }
    }
}

async fn finish(inner: Inner, rest: Rest) -> Result<FakeUsed, Ended> {
    match rest.await {
        Ok(()) => Ok(FakeUsed(inner)),
        Err((fault, cause)) => Err(Ended::Destroyed { fault, cause }),
    }
}

impl Used for FakeUsed {
    type Clean = FakeEnvironment;

    async fn renew(self, audit: bool) -> Result<Renewed<FakeEnvironment>, RenewError> {
        let inner = self.0;
        let shared = inner.shared.clone();
        shared.gates.renew.pass().await;
        if shared.trouble.leftover.load(Ordering::SeqCst) {
            return Err(RenewError::Leftover("the test left something".to_owned()));
        }
        let renewed = if inner.image.live() {
            inner.swap()
        } else {
            inner.replace()
        };
        if audit {
            shared.counts.audited.fetch_add(1, Ordering::SeqCst);
            let inner = &renewed.clean.0;
            if !inner
                .memory
                .equals(inner.record.current, &inner.image.bytes)
            {
                return Err(RenewError::AuditFailed("a byte differs".to_owned()));
            }
        }
        Ok(renewed)
    }

    fn keep(self) -> Result<FakeEnvironment, RenewError> {
        let mut inner = self.0;
        if !inner.image.kept() {
            return Err(RenewError::Failed(
                "its revision does not keep state".to_owned(),
            ));
        }
        let current = inner.record.current;
        inner.record.areas[current].1.0 += 1;
        inner.record.renewal = Renewal::Kept;
        Ok(FakeEnvironment(inner))
    }
}

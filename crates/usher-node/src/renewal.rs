//! After a run: the environment is made clean, kept, or lost.
//!
//! Renewal of an environment is the one task that a request spawns, after its reply's head is
//! there. The environment is offered as soon as its pointer names a clean area; the used area is
//! scrubbed behind that, in the same task.
//!
//! Deliberately absent: how an area becomes clean, which is the engine's.

use std::sync::Arc;
use std::time::Instant;

use usher_api::trace::RenewalLink;
use usher_core::audit::{Finding, follow};
use usher_core::environment::{Action, Event, Policy};
use usher_engine::{Ended, Engine, RenewError, Renewed, Used};

use crate::boxed::boxed;
use crate::pool::{Lease, Parked, Pool, UsedOf};

impl<E: Engine> Lease<E> {
    /// The run is over: does with the environment what the revision's policy says.
    pub(crate) fn end(mut self, left: Result<UsedOf<E>, Ended>) {
        let used = match left {
            Ok(used) => used,
            Err(ended) => return self.gone(&ended),
        };
        let Ok(action) = self
            .go(Event::Determined)
            .and_then(|_| self.go(Event::Replied))
        else {
            return;
        };
        let trust = self.pool().trust();
        match (action, self.pool().policy) {
            (Action::Renew, _) => {
                let runtime = self.pool().runtime.clone();
                // A task moves its future some times before it first runs.
                runtime.spawn(boxed(self.renew(used)));
            }
            (_, Policy::Keep) => match used.keep() {
                Ok(kept) => self.offer(Parked::Clean(kept), trust),
                Err(error) => self.pool().not_renewed(&error),
            },
            (_, _) => self.offer(Parked::Used(used), trust),
        }
    }

    /// Renews the environment and offers it. One that cannot be renewed gets a successor, so that
    /// the next request does not have to wait for it.
    async fn renew(mut self, used: UsedOf<E>) {
        let pool = self.pool().clone();
        let trust = pool.trust();
        let trace = self.take_trace();
        let Some(renewed) = pool.renew_after(used, trace).await else {
            drop(self);
            pool.start_ahead();
            return;
        };
        if self.go(Event::Clean).is_ok() {
            self.offer(Parked::Clean(renewed.clean), trust);
        }
        if let Some(behind) = renewed.behind {
            behind.scrub();
        }
    }

    /// Renews the environment for the request that has claimed it; the scrub goes on behind the
    /// run. None: it is gone.
    pub(crate) async fn renew_before_run(&mut self, used: UsedOf<E>) -> Option<E::Environment> {
        let pool = self.pool().clone();
        let Renewed { clean, behind } = pool.renew(used).await?;
        self.go(Event::Clean).ok()?;
        if let Some(behind) = behind {
            pool.runtime.spawn(async move { behind.scrub() });
        }
        Some(clean)
    }

    fn gone(&mut self, ended: &Ended) {
        let pool = self.pool().clone();
        match ended {
            Ended::Destroyed { .. } => {}
            Ended::Quarantined { cause } => {
                // Whether the move is legal decides nothing: the environment is gone in any case.
                let _ = self.go(Event::DeterminationFailed);
                pool.counters.quarantined.add(1);
                pool.untrusted(Finding::Determination, cause);
            }
        }
    }
}

impl<E: Engine> Pool<E> {
    /// Renews, and audits one renewal in so many. None: the environment is gone, and that was told.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        used: UsedOf<E>,
    ) -> Option<Renewed<E::Environment>> {
        self.renew_after(used, None).await
    }

    /// The same behind the reply to a request, in whose trace it is told.
    async fn renew_after(
        self: &Arc<Self>,
        used: UsedOf<E>,
        trace: Option<RenewalLink>,
    ) -> Option<Renewed<E::Environment>> {
        let audit = self.audits.due();
        self.counters.audits.add(u64::from(audit));
        let begun = trace.map(|trace| (trace, Instant::now()));
        let renewed = used.renew(audit).await;
        if let Some((trace, begun)) = begun {
            trace.over(&self.revision, begun.elapsed(), audit, renewed.is_ok());
        }
        renewed.inspect_err(|error| self.not_renewed(error)).ok()
    }

    fn not_renewed(&self, error: &RenewError) {
        match error {
            RenewError::Leftover(_) => self.counters.leftovers.add(1),
            RenewError::Failed(_) => self.counters.renewals_failed.add(1),
            RenewError::AuditFailed(cause) => {
                self.counters.audits_failed.add(1);
                self.counters.quarantined.add(1);
                return self.untrusted(Finding::Audit, cause);
            }
        }
        let function = &self.revision.function;
        tracing::warn!(%function, %error, "an environment was not renewed");
        self.log.platform(self.revision.id, None, error.to_string());
    }

    fn untrusted(&self, finding: Finding, cause: &str) {
        let consequence = follow(finding);
        tracing::error!(
            function = %self.revision.function,
            cause,
            live_off = consequence.live_off,
            "an environment was quarantined"
        );
        let text = format!("an environment was quarantined: {cause}");
        self.log.platform(self.revision.id, None, text);
        if consequence.live_off {
            self.distrust();
        }
    }
}

//! The pipeline of one invocation.
//!
//! ```text
//! receive → loaded? ─yes──────────────────────┬→ swap → hook → run → respond
//!              └no→ instantiate (load, start) ┘
//! ```
//!
//! Dropping the future anywhere gives back or destroys what it holds; see `pool`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Instrument;
use usher_api::invoke::{Failure, Invocation, Reply};
use usher_core::claim::Refusal;
use usher_core::environment::Action;
use usher_core::fault::Fault;
use usher_core::function::Revision;
use usher_core::id::{EnvironmentId, RequestId};
use usher_core::key::{Key, KeyFlaw};
use usher_core::proof::{Proof, Start};
use usher_core::trace::Step;
use usher_engine::{Call, Ended, Engine, Environment, Over, Run, UsedFacts};

use crate::account::Account;
use crate::entry::{Entry, fault_of};
use crate::events;
use crate::logs::RequestOutput;
use crate::node::Shop;
use crate::pool::{Asked, Claimed, Lease, NoEnvironment, Parked, UsedOf};
use crate::reply::{Cancelled, dropped_early, tie};
use crate::steps::{Steps, Upcoming};

/// How often one request may be handed an environment that turns out to be gone, before it fails.
const CLAIMS_MAX: u32 = 8;

/// An environment that is clean and claimed by this request.
struct Seat<E: Engine> {
    environment: E::Environment,
    lease: Lease<E>,
    start: Start,
}

/// A fault, and the inner cause where there is one.
type Failed = (Fault, Option<String>);

impl<E: Engine> Shop<E> {
    /// Runs one invocation.
    pub(crate) async fn serve(self: &Arc<Self>, invocation: Invocation) -> Result<Reply, Failure> {
        let Invocation {
            revision,
            key,
            request_id,
            mut request,
        } = invocation;
        // Taken out: what runs the request must not hold the trace beyond its end.
        let recording = request.extensions_mut().remove();
        let steps = Steps::begin(request_id, &revision, recording);
        let received = steps.receive().entered();
        let entry = self.entry(&revision);
        let (counters, log) = (entry.counters.clone(), entry.log.clone());
        let key = revision.settings.isolation.key().and(key);
        let account = Account::open(
            counters,
            log,
            revision.id,
            request_id,
            key.clone(),
            &request,
        );
        drop(received.exit());
        let (request, wanted) = match events::arrive(&revision, request).await {
            Ok(arrived) => arrived,
            Err(fault) => {
                account.failed(&fault, None, None);
                return Err(fault.into());
            }
        };
        let seated = self
            .seat(entry.clone(), &revision, key.as_ref(), &steps, &account)
            .await;
        let seat = match seated {
            Ok(seat) => seat,
            Err((fault, cause)) => {
                account.failed(&fault, None, cause.as_deref());
                return Err(fault.into());
            }
        };
        tell_hook(&entry, request_id, &revision, seat.environment.id());
        let output = RequestOutput::new(entry.log.clone(), revision.id, request_id);
        let output = Arc::new(output);
        let call = Call {
            request_id,
            request,
            output: output.clone(),
        };
        let Seat {
            environment,
            lease,
            start,
        } = seat;
        let lease = lease.traced(steps.renewal());
        let noted = steps.note(Step::Run);
        let begun = Instant::now();
        let run = environment.run(call).instrument(steps.run()).await;
        drop(noted);
        let reply = {
            let _respond = steps.respond().entered();
            let _lasts_to_the_end = steps.note(Step::Respond);
            respond(run, begun, lease, start, account, output)?
        };
        match wanted {
            Some(wanted) => Box::pin(in_form(reply, &wanted)).await,
            None => Ok(reply),
        }
    }

    /// A clean environment, come by in one of the ways that there are.
    async fn seat(
        self: &Arc<Self>,
        mut entry: Arc<Entry<E>>,
        revision: &Arc<Revision>,
        key: Option<&Key>,
        steps: &Steps,
        account: &Account,
    ) -> Result<Seat<E>, Failed> {
        has_key(revision, key).map_err(|fault| (fault, None))?;
        let limits = &revision.settings.limits;
        let wait_max = Duration::from_millis(limits.queue_wait_max_ms);
        let left = || wait_max.saturating_sub(account.begun().elapsed());
        for _ in 0..CLAIMS_MAX {
            let noted = steps.note(Step::Loaded);
            let loaded = steps.loaded().in_scope(|| {
                entry.admits(revision, &self.engine)?;
                Ok(entry.pool())
            });
            drop(noted);
            let pool = match loaded.map_err(|refusal| refused_claim(account, revision, refusal))? {
                Some(pool) => pool,
                None => {
                    let _noted = steps.note(Step::Instantiate);
                    let ready = entry.ready(self, revision).instrument(steps.instantiate());
                    match tokio::time::timeout(left(), ready).await {
                        Ok(Ok(pool)) => pool,
                        Ok(Err(fault)) => return Err((fault_of(&fault), Some(fault.message))),
                        Err(_) => return Err((NoEnvironment::Busy.fault(limits), None)),
                    }
                }
            };
            let claimed = match pool.ask(key) {
                Ok(Asked::Got(claimed)) => Ok(claimed),
                Ok(Asked::Waits(line)) => {
                    let _noted = steps.note(Step::Instantiate);
                    let served = line.served(left());
                    served.instrument(steps.instantiate()).await
                }
                Err(error) => Err(error),
            };
            match claimed {
                Ok(claimed) => {
                    if let Some(seat) = Seat::take(claimed, steps).await {
                        return Ok(seat);
                    }
                }
                // Given up between the look and the claim: it is loaded again for this request,
                // which was routed here before.
                Err(NoEnvironment::Closed) => entry = self.entry(revision),
                Err(error) => return Err((error.fault(limits), error.cause())),
            }
        }
        let cause = "every environment that was claimed was gone".to_owned();
        Err((Fault::Unavailable, Some(cause)))
    }
}

impl<E: Engine> Seat<E> {
    /// Takes what was claimed, and renews it where that was left to the one who claims it. None: it
    /// is gone.
    async fn take(claimed: Claimed<E>, steps: &Steps) -> Option<Self> {
        let (parked, mut lease, action, start) = claimed.take()?;
        let swap = steps.swap();
        let _noted = steps.note(Step::Swap);
        let environment = match (parked, action) {
            (Parked::Used(used), Action::Renew) => {
                Box::pin(lease.renew_before_run(used).instrument(swap)).await?
            }
            // The pointer was changed when the last run was over; the engine reads it before the
            // guest begins.
            (Parked::Clean(environment), Action::Determine) => swap.in_scope(|| environment),
            _ => return None,
        };
        Some(Self {
            environment,
            lease,
            start,
        })
    }
}

/// Tells whoever wanted to know that a run begins.
fn tell_hook<E: Engine>(
    entry: &Entry<E>,
    request: RequestId,
    revision: &Revision,
    environment: EnvironmentId,
) {
    // Cloned out, so that no lock is held while foreign code runs.
    let hook = entry.hook.read().clone();
    if let Some(hook) = hook {
        hook.before_run(&Upcoming {
            request,
            revision,
            environment,
        });
    }
}

/// Where state is kept by key, nobody runs without one.
fn has_key(revision: &Revision, key: Option<&Key>) -> Result<(), Fault> {
    match (revision.settings.isolation.key(), key) {
        (Some(source), None) => Err(Fault::BadKey {
            header: source.header().to_owned(),
            flaw: KeyFlaw::Missing,
        }),
        _ => Ok(()),
    }
}

fn refused_claim(account: &Account, revision: &Revision, refusal: Refusal) -> Failed {
    let (request, function) = (account.request(), &revision.function);
    tracing::error!(%request, %function, %refusal, "a claim was refused");
    (Fault::Unavailable, Some(refusal.to_string()))
}

/// Makes the reply, and sees to what is left of the run.
fn respond<E: Engine>(
    run: Run<UsedOf<E>>,
    ran_since: Instant,
    lease: Lease<E>,
    start: Start,
    account: Account,
    output: Arc<RequestOutput>,
) -> Result<Reply, Failure> {
    let Run { reply, facts, over } = run;
    let proof = proof_of(facts, start);
    // What could not be determined proves nothing: such a run did not begin.
    let begun = !matches!(&over, Over::Now(Err(Ended::Quarantined { .. })));
    let (over, rest) = match over {
        Over::Now(left) => (Some(left), None),
        Over::Later(rest) => (None, Some(rest)),
    };
    if rest.is_none() {
        output.finish();
    }
    let headless = *account.method() == http::Method::HEAD;
    let mut cancelled = None;
    let reply = match reply {
        Ok(mut response) => {
            if rest.is_some() {
                let (tied, dropped) = tie(response, headless);
                (response, cancelled) = (tied, Some(dropped));
            }
            account.served(response.status(), &proof);
            Ok(Reply { response, proof })
        }
        Err((fault, cause)) => {
            account.failed(&fault, Some(proof), Some(&cause));
            let proof = begun.then_some(proof);
            Err(Failure { fault, proof })
        }
    };
    if let Some(left) = over {
        lease.pool().counters.ran(ran_since.elapsed());
        if reply.is_ok() {
            broke_off(&lease, &output, left.as_ref().err());
        }
        lease.end(left);
    } else if let Some(rest) = rest {
        let runtime = lease.pool().runtime.clone();
        runtime.spawn(drive(rest, ran_since, lease, output, cancelled));
    }
    reply
}

/// Drives what is left of a run to its end, unless nobody reads the reply any more.
async fn drive<E: Engine>(
    rest: std::pin::Pin<Box<dyn Future<Output = Result<UsedOf<E>, Ended>> + Send>>,
    ran_since: Instant,
    lease: Lease<E>,
    output: Arc<RequestOutput>,
    cancelled: Option<Cancelled>,
) {
    let gone = async {
        match cancelled {
            Some(cancelled) => dropped_early(cancelled).await,
            None => std::future::pending().await,
        }
    };
    let left = tokio::select! {
        // A run that is over is over, even if its reader has gone away.
        biased;
        left = rest => left,
        () = gone => Err(Ended::Destroyed {
            fault: Fault::CallerGone,
            cause: "nobody read the reply to its end".to_owned(),
        }),
    };
    lease.pool().counters.ran(ran_since.elapsed());
    output.finish();
    broke_off(&lease, &output, left.as_ref().err());
    lease.end(left);
}

/// Tells of a run that failed when the head had already left.
fn broke_off<E: Engine>(lease: &Lease<E>, output: &RequestOutput, ended: Option<&Ended>) {
    if let Some(ended) = ended {
        lease.pool().counters.broken_off.add(1);
        output.broke_off(ended);
    }
}

fn proof_of(facts: UsedFacts, start: Start) -> Proof {
    Proof {
        environment: facts.environment,
        area: facts.area,
        generation: facts.generation,
        start,
        renewal: facts.renewal,
        renew_us: facts.renew_us,
    }
}

/// An invocation that never got as far as an entry.
pub(crate) fn refused(request: RequestId, revision: &Revision) -> Fault {
    tracing::debug!(%request, function = %revision.function, "refused: the node is shutting down");
    Fault::Draining
}

/// A reply whose CloudEvent is in the form that the caller wants.
async fn in_form(reply: Reply, wanted: &events::Wanted) -> Result<Reply, Failure> {
    let Reply { response, proof } = reply;
    let response = events::leave(response, wanted).await;
    let failed = |fault| Failure {
        fault,
        proof: Some(proof),
    };
    Ok(Reply {
        response: response.map_err(failed)?,
        proof,
    })
}

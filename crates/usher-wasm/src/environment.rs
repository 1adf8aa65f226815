//! The environments of this engine, live or fresh, behind the traits that all engines have.

use std::sync::Arc;

use usher_core::fault::Fault;
use usher_core::id::EnvironmentId;
use usher_engine::{
    Behind, Call, Ended, Environment, Over, RenewError, Renewed, Run, Used, UsedFacts,
};

use crate::engine::Inner;
use crate::fresh::{Fresh, FreshRest};
use crate::image::WasmImage;
use crate::live::{Live, LiveRest};
use crate::rehearsal::Rehearsal;
use crate::run::{Guest, Ran, RanOver, run};

/// A clean environment.
pub struct WasmEnvironment {
    pub(crate) inner: Arc<Inner>,
    pub(crate) kind: Kind,
}

/// An environment that has run a request.
pub struct WasmUsed {
    inner: Arc<Inner>,
    kind: Kind,
}

pub(crate) enum Kind {
    Live(Box<Live>),
    Fresh(Box<Fresh>),
}

/// An environment while its guest is out on a run.
enum Rest {
    Live(LiveRest),
    Fresh(FreshRest),
}

impl Kind {
    fn apart(self) -> (Guest, Rest) {
        match self {
            Self::Live(live) => (live.guest, Rest::Live(live.rest)),
            Self::Fresh(fresh) => (fresh.guest, Rest::Fresh(fresh.rest)),
        }
    }

    fn image(&self) -> &Arc<WasmImage> {
        match self {
            Self::Live(live) => &live.rest.image,
            Self::Fresh(fresh) => &fresh.rest.image,
        }
    }
}

impl Rest {
    fn facts(&self) -> UsedFacts {
        match self {
            Self::Live(rest) => rest.facts(),
            Self::Fresh(rest) => rest.facts(),
        }
    }

    fn image(&self) -> Arc<WasmImage> {
        match self {
            Self::Live(rest) => rest.image.clone(),
            Self::Fresh(rest) => rest.image.clone(),
        }
    }

    fn together(self, guest: Guest) -> Kind {
        match self {
            Self::Live(rest) => Kind::Live(Box::new(Live { guest, rest })),
            Self::Fresh(rest) => Kind::Fresh(Box::new(Fresh { guest, rest })),
        }
    }
}

impl WasmEnvironment {
    /// How often `marker` stands in the memories that the next run will see, and in the areas that
    /// are not current. None where the environment is fresh. For tests that search for secrets.
    #[doc(hidden)]
    pub fn count_marker(&self, marker: &[u8]) -> Option<(usize, usize)> {
        match &self.kind {
            Kind::Live(live) => {
                let areas = &live.rest.areas;
                Some((areas.count_current(marker), areas.count_other(marker)))
            }
            Kind::Fresh(_) => None,
        }
    }

    /// The same environment, whose next run the platform makes itself.
    pub(crate) fn rehearsing(mut self, rehearsal: Rehearsal) -> Self {
        let guest = match &mut self.kind {
            Kind::Live(live) => &mut live.guest,
            Kind::Fresh(fresh) => &mut fresh.guest,
        };
        guest.store.data_mut().rehearse(Some(rehearsal));
        self
    }

    /// Compares the current areas with the image, every byte. For tests.
    #[doc(hidden)]
    pub fn audit(&self) -> Result<(), String> {
        match &self.kind {
            Kind::Live(live) => live.rest.areas.audit(),
            Kind::Fresh(_) => Ok(()),
        }
    }
}

impl Environment for WasmEnvironment {
    type Used = WasmUsed;

    fn id(&self) -> EnvironmentId {
        match &self.kind {
            Kind::Live(live) => live.rest.id,
            Kind::Fresh(fresh) => fresh.rest.id,
        }
    }

    async fn run(self, call: Call) -> Run<WasmUsed> {
        let Self { inner, kind } = self;
        if let Kind::Live(live) = &kind
            && let Err(cause) = live.determine()
        {
            return refused(live.rest.facts(), cause);
        }
        let (guest, rest) = kind.apart();
        let facts = rest.facts();
        let image = rest.image();
        let Ran { reply, over } =
            run(guest, call, &image.revision.settings.limits, image.keeps()).await;
        let used = move |guest: Guest| WasmUsed {
            inner,
            kind: rest.together(guest),
        };
        let over = match over {
            RanOver::Now(Ok(guest)) => Over::Now(Ok(used(guest))),
            RanOver::Now(Err(ended)) => {
                drop(used);
                Over::Now(Err(ended))
            }
            RanOver::Later(later) => Over::Later(Box::pin(async move { later.await.map(used) })),
        };
        Run { reply, facts, over }
    }
}

fn refused(facts: UsedFacts, cause: String) -> Run<WasmUsed> {
    tracing::error!(environment = facts.environment.0, %cause, "environment quarantined");
    Run {
        reply: Err((Fault::Unavailable, cause.clone())),
        facts,
        over: Over::Now(Err(Ended::Quarantined { cause })),
    }
}

impl Used for WasmUsed {
    type Clean = WasmEnvironment;

    async fn renew(self, audit: bool) -> Result<Renewed<WasmEnvironment>, RenewError> {
        let Self { inner, kind } = self;
        let mut live = match kind {
            Kind::Live(live) if live.rest.image.live() => live,
            other => return Box::pin(another(inner, other)).await,
        };
        let left = live.renew().await?;
        if audit {
            live.rest.areas.audit().map_err(RenewError::AuditFailed)?;
        }
        let areas = live.rest.areas.clone();
        let behind = Behind::new(move || {
            if let Err(error) = areas.scrub(left) {
                // The ledger keeps such an area from ever being current again.
                tracing::error!(%error, "a used area was not scrubbed");
            }
        });
        Ok(Renewed {
            clean: WasmEnvironment {
                inner,
                kind: Kind::Live(live),
            },
            behind: Some(behind),
        })
    }

    fn keep(self) -> Result<WasmEnvironment, RenewError> {
        let Self { inner, mut kind } = self;
        if !kind.image().keeps() {
            return Err(RenewError::Failed(
                "its revision does not keep state".into(),
            ));
        }
        match &mut kind {
            Kind::Live(live) => live.keep(),
            Kind::Fresh(fresh) => fresh.keep(),
        }
        Ok(WasmEnvironment { inner, kind })
    }
}

/// The next instance, made before the used one is dropped.
async fn another(inner: Arc<Inner>, used: Kind) -> Result<Renewed<WasmEnvironment>, RenewError> {
    let image = used.image().clone();
    let code = inner.fresh_code(&image).await;
    let code = code.map_err(|fault| RenewError::Failed(fault.message))?;
    let fresh = Fresh::start(&inner, &image, &code, None, true).await;
    let fresh = fresh.map_err(RenewError::Failed)?;
    drop(used);
    Ok(Renewed {
        clean: WasmEnvironment {
            inner,
            kind: Kind::Fresh(fresh),
        },
        behind: None,
    })
}

//! A program that is put back after a request: its snapshot, and how it is told.
//!
//! A program that is put back repeats what its generators of random values would say. So only those
//! are put back that make their randomness fresh when they are told to (`crate::restored`, or by
//! the hooks of a Lambda function), or whose manifest says that they hold none; and all of them are
//! told before they get a request.
//!
//! Deliberately absent: how a program is put back (`crate::renewal`), and whether those of a
//! revision are (`crate::renewable`).

use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use usher_core::renewal::choice::{Choice, Way};

use crate::cause::chain;
use crate::contract::lambda::{NotRemembered, NotRewound};
use crate::image::ProcessImage;
use crate::renewal::{
    Back, Injected, NotPutBack, NotTaken, QUIET_WAIT_MAX_MS, Snapshot, Undetermined, quiet,
};
use crate::restored::{Hook, HookError, Told};
use crate::sandbox::Program;
use crate::served::{NotRestored, Served, Spoken};

/// How long a program may be stopped, in milliseconds; it is killed then.
const STOPPED_MAX_MS: u64 = 5_000;

/// Why a program is not put back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotRenewable {
    #[error(
        "the program does not say that it makes its randomness fresh after a put-back, so that \
         values which must never repeat could; write reuse = true under [process] if it holds none"
    )]
    Undeclared,
    #[error("{}", chain(.0))]
    Hook(#[from] HookError),
    #[error("this kernel does not tell the platform when a program drops pages of its memory")]
    Unanswered,
    #[error("the program went away: {0}")]
    Gone(#[source] std::io::Error),
    #[error("{}", chain(.0))]
    NotTaken(#[from] NotTaken),
    #[error("{}", chain(.0))]
    NotRemembered(#[from] NotRemembered),
    #[error("the program was stopped for more than {STOPPED_MAX_MS} ms")]
    Stuck,
}

impl NotRenewable {
    /// Whether the program is untouched, and may serve a request.
    pub(crate) fn spares_program(&self) -> bool {
        matches!(self, Self::Undeclared | Self::Unanswered | Self::Hook(_))
    }
}

/// Why a program was not put back. It is to be ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    #[error("{}", chain(.0))]
    NotPutBack(#[from] NotPutBack),
    #[error("{}", chain(.0))]
    Hook(#[from] HookError),
    #[error("{}", chain(.0))]
    NotRewound(#[from] NotRewound),
    #[error(transparent)]
    NotRestored(#[from] NotRestored),
    #[error("it has made more denied calls than are answered")]
    Unanswered,
    #[error("it was stopped for more than {STOPPED_MAX_MS} ms")]
    Stuck,
}

impl Failed {
    /// Whether an audit has found that the mechanism itself does not hold.
    pub(crate) fn is_audit(&self) -> bool {
        matches!(self, Self::NotPutBack(NotPutBack::Differs(_)))
    }
}

/// By which way programs of a revision are put back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ways {
    /// By this one, wherever it can be gone.
    Only(Way),
    /// By whichever keeps the program stopped for less.
    Measured,
}

impl Ways {
    /// By which way the next put-back goes, by what earlier ones have cost.
    fn next(self, costs: &Choice) -> Way {
        match self {
            Self::Only(way) => way,
            Self::Measured => costs.next(),
        }
    }
}

/// The snapshot of a program, and the way to tell it that it was put back.
pub(crate) struct Restorable {
    snapshot: Snapshot,
    ways: Ways,
    /// What put-backs by each way have cost.
    costs: Choice,
    /// Stays open, since a socket that lost its other end is not what it was.
    hook: Option<Hook>,
    /// It is told of each put-back; if not, its manifest says that it holds no randomness.
    declared: bool,
    /// How often it was put back.
    times: u64,
}

impl Restorable {
    /// That of a program which was made like another one, and goes on. It is told so before it gets
    /// a request, as after a put-back.
    pub(crate) async fn cloned(
        snapshot: Snapshot,
        ways: Ways,
        mut hook: Option<Hook>,
        declared: bool,
    ) -> Result<Self, HookError> {
        let times = 1;
        if let Some(hook) = hook.as_mut().filter(|_| declared) {
            hook.inherit();
            hook.restored(times).await?;
        }
        Ok(Self {
            snapshot,
            ways,
            costs: Choice::default(),
            hook,
            declared,
            times,
        })
    }

    /// Whether its program makes its randomness fresh when it is told.
    pub(crate) fn is_declared(&self) -> bool {
        self.declared
    }

    /// What is kept of its program.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes the snapshot of a program that is ready, and notes how the contract that it speaks
    /// stands with it.
    pub(crate) async fn of(
        program: &Arc<Program>,
        contract: &mut Spoken,
        hook: Option<Hook>,
        image: &ProcessImage,
        injected: &Arc<Injected>,
    ) -> Result<Self, NotRenewable> {
        let mut hook = hook;
        let declared = prepared(&mut hook).await?;
        if !declared && !image.process.reuse && !contract.has_hooks() {
            return Err(NotRenewable::Undeclared);
        }
        let pid = pid(program);
        let pid = pid.map_err(NotRenewable::Gone)?;
        // One that never rests is stopped in the midst of what it does, which it then repeats.
        let rest = timeout(Duration::from_millis(QUIET_WAIT_MAX_MS), quiet(pid)).await;
        rest.unwrap_or(Ok(())).map_err(NotRenewable::Gone)?;
        if !program.lay() {
            return Err(NotRenewable::Unanswered);
        }
        contract.remember().await?;
        let surroundings = program.surroundings().map_err(NotRenewable::Gone)?;
        let areas = image.areas.clone();
        if areas.is_some() {
            program.share();
        }
        let (held, injected) = (program.clone(), injected.clone());
        let taking = spawn_blocking(move || {
            let areas = areas
                .as_ref()
                .map(|two| two.each_ref().map(Option::as_deref));
            let turn = held.turn();
            let taken = Snapshot::take(pid, surroundings, areas, held.page(), &injected);
            drop(turn);
            drop(held);
            taken
        });
        let taken = within(program, taking).await;
        let snapshot = taken.ok_or(NotRenewable::Stuck)??;
        contract.still()?;
        Ok(Self {
            snapshot,
            ways: image.ways,
            costs: Choice::default(),
            hook,
            declared,
            times: 0,
        })
    }

    /// Puts the program back, and the contract with it, and tells the program.
    pub(crate) async fn put_back(
        self: Box<Self>,
        served: Served,
        audit: bool,
        injected: &Arc<Injected>,
    ) -> Result<(Served, Back), Failed> {
        let program = served.program.clone();
        if !program.is_answered() {
            return Err(Failed::Unanswered);
        }
        let injected = injected.clone();
        let putting = spawn_blocking(move || self.put_back_here(served, audit, &injected));
        let done = within(&program, putting).await.ok_or(Failed::Stuck)??;
        let Done {
            mut restorable,
            mut served,
            back,
            told,
        } = done;
        served.contract.rewound().await?;
        if let (Some(hook), Some(told)) = (&mut restorable.hook, told) {
            hook.answered(told).await?;
        }
        // Its own hooks come last, so that what they draw is fresh.
        served.contract.restored(&program).await?;
        served.restorable = Some(restorable);
        Ok((served, back))
    }

    /// The same as far as it goes without a task: each change of threads on the way costs as much
    /// as a small request.
    fn put_back_here(
        mut self: Box<Self>,
        mut served: Served,
        audit: bool,
        injected: &Injected,
    ) -> Result<Done, Failed> {
        // What is written to the program now it would find afterwards.
        served.contract.pause();
        let wanted = self.ways.next(&self.costs);
        let turn = served.program.turn();
        let back = self.snapshot.put_back(wanted, audit, injected);
        drop(turn);
        let back = back?;
        self.costs.tell(wanted, back.way, back.stopped_ns);
        served.contract.rewind()?;
        self.times += 1;
        let mut hook = self.hook.as_mut().filter(|_| self.declared);
        let message = hook.as_mut().map(|hook| hook.tell(self.times));
        let mut told = message.transpose()?;
        // While the program seeds its generators.
        served.contract.go_on();
        if let (Some(hook), Some(message)) = (hook, told.take()) {
            told = hook.heard_soon(message)?;
        }
        Ok(Done {
            restorable: self,
            served,
            back,
            told,
        })
    }

    /// Reads whether the program is in another area than in the run before.
    pub(crate) fn determine(&self, program: &Program) -> Result<(), Undetermined> {
        self.snapshot.determine(pid(program)?)
    }
}

/// What came of a put-back on the thread that did it.
struct Done {
    restorable: Box<Restorable>,
    served: Served,
    back: Back,
    /// A message of which the answer has not come yet.
    told: Option<Told>,
}

/// Whether the program has declared that it makes its randomness fresh, and is prepared for it.
async fn prepared(hook: &mut Option<Hook>) -> Result<bool, HookError> {
    let Some(hook) = hook else {
        return Ok(false);
    };
    match hook.declared() {
        Ok(true) => hook.prepare().await.map(|()| true),
        // It may have closed what it did not know.
        Ok(false) | Err(HookError::Closed) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn pid(program: &Program) -> std::io::Result<Pid> {
    let pid = i32::try_from(program.pid()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ESRCH))
}

/// Waits for work on a stopped program; ends the program when that takes too long, which makes the
/// work end as well. None: it took too long, or was lost.
pub(crate) async fn within<T: Send + 'static>(
    program: &Program,
    mut work: tokio::task::JoinHandle<T>,
) -> Option<T> {
    let wait = Duration::from_millis(STOPPED_MAX_MS);
    match timeout(wait, &mut work).await {
        Ok(done) => done.ok(),
        Err(_) => {
            program.end();
            let _ = work.await;
            None
        }
    }
}

//! What each signal does to the program, and the signals that wait.
//!
//! ```text
//!  ignored for a moment ─► actions put back ─► looked whether one waits ─no─► as at the snapshot
//!                                                  ▲              └yes► ignored for a moment
//!                                                  └──── once more ◄──────┘
//! ```
//!
//! A signal that waits was sent by the run that has ended, and goes with it: the kernel throws away
//! what is ignored, for all threads. Runtimes send some to their own threads at any time, as Go's
//! does to those that compute for long. Where a program has used up its queue, the kernel notes one
//! of the signals below the realtime ones and queues nothing, so that no look at the queues finds
//! it: those are ignored each time, but for the one that ends our own calls. One that was delivered
//! as the program was stopped goes with the memory and the registers of its handler.
//!
//! All actions are put back, not only those of signals that are caught: flags and mask of a signal
//! at its default are kept by the kernel too, and no file of `/proc` shows them. Deliberately
//! absent: masks, which are put back with the registers; alternate stacks, which are a thread's.

use crate::renewal::stopped::{Agent, Argument, Batch, Call, Expect, Full, Pointer, Stopped};
use crate::sys::trace::{self, Queue};

use super::errors::{About as _, Difference, Leftover, TakeError, same};

/// Signals are numbered from 1 to this.
const SIGNALS: i32 = 64;
/// The realtime ones begin with this; they are queued or refused.
const REALTIME: i32 = 32;
/// Ends our calls in each thread, so it is never thrown away while threads make them. Where one of
/// the run's waits, our calls end too early, and the program is replaced.
const HERALD: i32 = libc::SIGTRAP;
/// Bytes of the kernel's set of signals.
const MASK_BYTES: u64 = 8;
/// Bytes of the kernel's action: what is called, flags, the way back, mask.
const ACTION_BYTES: usize = 32;

type Action = [u8; ACTION_BYTES];

/// By which a signal is ignored, wherever it waits.
const IGNORED: Action = {
    let mut action = [0; ACTION_BYTES];
    // `SIG_IGN`
    action[0] = 1;
    action
};

/// The actions at the snapshot, in the order of their signals.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signals {
    actions: Vec<Action>,
}

impl Signals {
    pub(super) fn take(stopped: &mut Stopped, agent: &Agent) -> Result<Self, TakeError> {
        if waiting(stopped).taking("the pending signals")? != 0 {
            return Err(TakeError::State("has a pending signal".to_owned()));
        }
        let (batch, places) = questions()?;
        let answers = stopped.run(agent, &batch)?;
        let read = places.iter().map(|place| action(answers.bytes(*place)));
        Ok(Self {
            actions: read.collect(),
        })
    }

    /// Appends the calls that put all actions back, and throw away what waits below the realtime
    /// ones.
    pub(super) fn plan(&self, batch: &mut Batch) -> Result<(), Full> {
        // Most signals share one of very few actions.
        let mut known: Vec<(&Action, Argument)> = Vec::new();
        let ignored = batch.bytes(&IGNORED)?.into();
        for (signal, action) in (1..).zip(&self.actions) {
            if !can_be_set(signal) {
                continue;
            }
            let place = match known.iter().find(|(other, _)| *other == action) {
                Some((_, place)) => *place,
                None => {
                    let place = batch.bytes(action)?.into();
                    known.push((action, place));
                    place
                }
            };
            if signal < REALTIME && signal != HERALD {
                act(batch, signal, ignored);
            }
            act(batch, signal, place);
        }
        Ok(())
    }

    /// Throws away the signals that still wait: realtime ones, and those of a timer that ran out
    /// before it was stopped.
    pub(super) fn done(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Leftover> {
        let left = waiting(stopped).putting("the pending signals")?;
        if left == 0 {
            return Ok(());
        }
        let mut batch = Batch::new();
        let ignored = batch.bytes(&IGNORED)?.into();
        for (signal, action) in (1..).zip(&self.actions) {
            if left & bit(signal) != 0 && can_be_set(signal) {
                act(&mut batch, signal, ignored);
                let action = batch.bytes(action)?.into();
                act(&mut batch, signal, action);
            }
        }
        stopped.run(agent, &batch)?;
        if waiting(stopped).putting("the pending signals")? != 0 {
            return Err(Leftover::Signal);
        }
        Ok(())
    }

    pub(super) fn compare(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Difference> {
        same(
            "pending signals",
            &0,
            &waiting(stopped).comparing("pending signals")?,
        )?;
        let (batch, places) = questions()?;
        let answers = stopped.run(agent, &batch)?;
        for ((signal, then), place) in (1..).zip(&self.actions).zip(places) {
            let now = action(answers.bytes(place));
            if *then != now {
                let what = format!("the action of signal {signal} was {then:?}, is {now:?}");
                let piece = "signals";
                return Err(Difference::Found { piece, what });
            }
        }
        Ok(())
    }
}

/// Reads all actions.
fn questions() -> Result<(Batch, Vec<Pointer>), Full> {
    let mut batch = Batch::new();
    let mut places = Vec::new();
    for signal in 1..=SIGNALS {
        let place = batch.space(ACTION_BYTES)?;
        let ask = [signal.into(), 0_u64.into(), place.into(), MASK_BYTES.into()];
        batch.call(Call::new(libc::SYS_rt_sigaction, ask), Expect::Ok);
        places.push(place);
    }
    Ok((batch, places))
}

fn action(bytes: &[u8]) -> Action {
    bytes.try_into().unwrap_or([0; ACTION_BYTES])
}

fn can_be_set(signal: i32) -> bool {
    signal != libc::SIGKILL && signal != libc::SIGSTOP
}

/// Sets the action of a signal.
fn act(batch: &mut Batch, signal: i32, action: Argument) {
    let set = [signal.into(), action, 0_u64.into(), MASK_BYTES.into()];
    batch.call(Call::new(libc::SYS_rt_sigaction, set), Expect::Ok);
}

/// Which signals wait for the program, or for one of its threads.
fn waiting(stopped: &Stopped) -> std::io::Result<u64> {
    let of_all = trace::pending(stopped.pid(), Queue::Process)?;
    let threads = stopped.threads().iter();
    threads
        .map(|thread| trace::pending(*thread, Queue::Thread))
        .try_fold(of_all, |set, of| Ok(set | of?))
}

/// The place of a signal in a set.
fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

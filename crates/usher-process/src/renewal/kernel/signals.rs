//! What each signal does to the program, and the signals that wait.
//!
//! All actions are put back, not only those of signals that are caught: flags and mask of a signal
//! at its default are kept by the kernel too, and no file of `/proc` shows them. Deliberately
//! absent: masks, which are put back with the registers; alternate stacks, which are a thread's.

use crate::renewal::stopped::{Agent, Argument, Batch, Call, Expect, Stopped};
use crate::sys::handles;

use super::errors::{About as _, Difference, Leftover, TakeError, same};

/// Signals are numbered from 1 to this.
const SIGNALS: i32 = 64;
/// Bytes of the kernel's set of signals.
const MASK_BYTES: u64 = 8;
/// Bytes of the kernel's action: what is called, flags, the way back, mask.
const ACTION_BYTES: usize = 32;

type Action = [u8; ACTION_BYTES];

/// The actions at the snapshot, in the order of their signals.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Signals {
    actions: Vec<Action>,
}

impl Signals {
    pub(super) fn take(stopped: &mut Stopped, agent: &Agent) -> Result<Self, TakeError> {
        if pending(stopped).taking("the pending signals")? {
            return Err(TakeError::State("has a pending signal".to_owned()));
        }
        let (batch, places) = questions()?;
        let answers = stopped.run(agent, &batch)?;
        let read = places.iter().map(|place| action(answers.bytes(*place)));
        Ok(Self {
            actions: read.collect(),
        })
    }

    /// Appends the calls that put all actions back; an error if a signal was delivered.
    pub(super) fn plan(&self, stopped: &Stopped, batch: &mut Batch) -> Result<(), Leftover> {
        // What waits is looked for in the end, by when nothing can have taken it.
        if stopped.signalled().is_some() {
            return Err(Leftover::Signal);
        }
        // Most signals share one of very few actions.
        let mut known: Vec<(&Action, Argument)> = Vec::new();
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
            let set = [signal.into(), place, 0_u64.into(), MASK_BYTES.into()];
            batch.call(Call::new(libc::SYS_rt_sigaction, set), Expect::Ok);
        }
        Ok(())
    }

    /// Looks whether a signal waits: also one of a timer that ran out before it was stopped. What
    /// the actions of the snapshot ignore, the kernel has thrown away with them.
    pub(super) fn done(&self, stopped: &Stopped) -> Result<(), Leftover> {
        if pending(stopped).putting("the pending signals")? {
            return Err(Leftover::Signal);
        }
        Ok(())
    }

    pub(super) fn compare(&self, stopped: &mut Stopped, agent: &Agent) -> Result<(), Difference> {
        same(
            "pending signals",
            &false,
            &pending(stopped).comparing("pending signals")?,
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
fn questions()
-> Result<(Batch, Vec<crate::renewal::stopped::Pointer>), crate::renewal::stopped::Full> {
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

/// Whether a signal waits for the program, or for one of its threads.
fn pending(stopped: &Stopped) -> std::io::Result<bool> {
    if stopped.signalled().is_some() || handles::is_pending(stopped.pid(), true)? {
        return Ok(true);
    }
    for thread in stopped.threads() {
        if handles::is_pending(*thread, false)? {
            return Ok(true);
        }
    }
    Ok(false)
}

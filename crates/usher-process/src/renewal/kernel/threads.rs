//! What the kernel keeps for each thread, besides its registers and its signal mask.
//!
//! ```text
//! set by the thread itself:    alternate stack, the address cleared at its end, name, robust list
//! set from outside:            niceness, processors
//! looked at from outside:      restartable sequences; others → replaced
//! ```
//!
//! Deliberately absent: threads that are new, which are ended; scheduling classes, priorities of
//! input and output, memory policies, slack of timers: the filter denies what sets them.

use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::renewal::stopped::{Agent, Answers, Batch, Call, Expect, Full, Pointer, Stopped, Tid};
use crate::sys::handles::{self, Sequences};

use super::errors::{About as _, Difference, Leftover, TakeError, same};
use super::proc::Proc;

/// Bytes of the kernel's description of an alternate stack.
const STACK_BYTES: usize = 24;
/// Bytes of a thread's name, its end included.
const NAME_BYTES: usize = 16;

/// The threads of the snapshot.
#[derive(Debug)]
pub(super) struct Threads(Vec<Thread>);

#[derive(Debug)]
struct Thread {
    tid: Tid,
    own: Own,
    outside: Outside,
}

/// What only the thread itself can ask and set.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Own {
    stack: [u8; STACK_BYTES],
    name: [u8; NAME_BYTES],
    /// Where the kernel does not tell the address, it is not put back.
    cleared: Option<u64>,
}

/// What anybody may see.
#[derive(Clone, Debug, PartialEq)]
struct Outside {
    niceness: i32,
    processors: CpuSet,
    robust: (usize, usize),
    sequences: Option<Sequences>,
}

impl Threads {
    pub(super) fn take(
        proc: &Proc,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<Self, TakeError> {
        let mut threads = Vec::new();
        for tid in stopped.threads().to_vec() {
            let shares = handles::same_tables(proc.pid(), tid).taking("what threads share")?;
            if !shares {
                let what = "has a thread with descriptors or a folder of its own";
                return Err(TakeError::State(what.to_owned()));
            }
            let asked = Questions::ask()?;
            let answers = stopped.run_by(tid, agent, &asked.batch)?;
            threads.push(Thread {
                tid,
                own: asked.read(&answers),
                outside: Outside::of(tid).taking("a thread's state")?,
            });
        }
        Ok(Self(threads))
    }

    /// Appends the calls of all threads to `batch`; those for which it has no room are made at
    /// once.
    pub(super) fn plan(
        &self,
        stopped: &mut Stopped,
        agent: &Agent,
        batch: &mut Batch,
    ) -> Result<(), Leftover> {
        let mut bytes = Batch::new();
        let mut each = Vec::new();
        for thread in &self.0 {
            thread.put_outside()?;
            if thread.tid == stopped.pid() {
                for call in thread.calls(batch)? {
                    batch.call(call, Expect::Ok);
                }
            } else {
                let calls = thread.calls(batch)?;
                if !batch.call_by(thread.tid, &calls) {
                    each.push((thread.tid, thread.calls(&mut bytes)?));
                }
            }
        }
        if !each.is_empty() {
            stopped.run_each(agent, &bytes, &each, Expect::Ok)?;
        }
        Ok(())
    }

    /// What each of them had, the main thread first.
    pub(super) fn held(&self) -> impl Iterator<Item = (Tid, Held)> {
        self.0.iter().map(|thread| {
            let held = Held {
                own: thread.own.clone(),
                outside: thread.outside.clone(),
            };
            (thread.tid, held)
        })
    }

    pub(super) fn compare(
        &self,
        proc: &Proc,
        stopped: &mut Stopped,
        agent: &Agent,
    ) -> Result<(), Difference> {
        let known: Vec<Tid> = self.0.iter().map(|thread| thread.tid).collect();
        let mut found = stopped.threads().to_vec();
        found.sort_by_key(|tid| known.iter().position(|other| other == tid));
        same("threads", &known, &found)?;
        for thread in &self.0 {
            let asked = Questions::ask()?;
            let answers = stopped.run_by(thread.tid, agent, &asked.batch)?;
            same("a thread's own state", &thread.own, &asked.read(&answers))?;
            let outside = Outside::of(thread.tid).comparing("a thread's state")?;
            same("a thread's state", &thread.outside, &outside)?;
            let path = format!("task/{}/comm", thread.tid.as_raw_nonzero());
            let name = proc.text(&path).comparing("a thread's name")?;
            let then = thread.own.name.split(|byte| *byte == 0).next();
            same(
                "a thread's name",
                &then,
                &Some(name.trim_end_matches('\n').as_bytes()),
            )?;
        }
        Ok(())
    }
}

/// What a thread is given that is to be like another one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    own: Own,
    outside: Outside,
}

impl Held {
    /// Appends the calls that the thread makes itself. Their addresses must be of its memory by
    /// then.
    pub(super) fn plan(&self, batch: &mut Batch) -> Result<(), Full> {
        for call in self.own.calls(batch)? {
            batch.call(call, Expect::Ok);
        }
        batch.call(self.outside.robust_list(), Expect::Value(0));
        let sequences = self.outside.sequences.unwrap_or_default();
        if let Some([address, bytes, signature]) = sequences.registered() {
            let set = [address.into(), bytes.into(), 0_u64.into(), signature.into()];
            batch.call(Call::new(libc::SYS_rseq, set), Expect::Value(0));
        }
        Ok(())
    }

    /// Sets the rest from outside.
    pub(super) fn put(&self, tid: Tid) -> Result<(), Leftover> {
        let Outside {
            niceness,
            processors,
            ..
        } = &self.outside;
        setpriority_process(Some(tid), *niceness).putting("a thread's niceness")?;
        sched_setaffinity(Some(tid), processors).putting("a thread's processors")
    }
}

impl Thread {
    fn put_outside(&self) -> Result<(), Leftover> {
        let (tid, then) = (self.tid, &self.outside);
        let what = "a thread's restartable sequences";
        if handles::sequences(tid).putting(what)? != then.sequences {
            return Err(Leftover::State(
                "a thread has another area for restartable sequences",
            ));
        }
        let what = "a thread's niceness";
        if getpriority_process(Some(tid)).putting(what)? != then.niceness {
            setpriority_process(Some(tid), then.niceness).putting(what)?;
        }
        let what = "a thread's processors";
        if sched_getaffinity(Some(tid)).putting(what)? != then.processors {
            sched_setaffinity(Some(tid), &then.processors).putting(what)?;
        }
        Ok(())
    }

    /// The calls that it makes itself, with their bytes in `batch`.
    fn calls(&self, batch: &mut Batch) -> Result<Vec<Call>, Full> {
        let mut calls = self.own.calls(batch)?;
        calls.push(self.outside.robust_list());
        Ok(calls)
    }
}

impl Outside {
    fn of(tid: Tid) -> std::io::Result<Self> {
        Ok(Self {
            niceness: getpriority_process(Some(tid))?,
            processors: sched_getaffinity(Some(tid))?,
            robust: handles::robust_list(tid)?,
            sequences: handles::sequences(tid)?,
        })
    }
}

impl Outside {
    /// Only the thread itself may set it, for which it has to make calls anyway; to ask from
    /// outside would take one more of ours.
    fn robust_list(&self) -> Call {
        let (list, bytes) = self.robust;
        Call::new(libc::SYS_set_robust_list, [list.into(), bytes.into()])
    }
}

impl Own {
    /// The calls that put it back, with their bytes in `batch`.
    fn calls(&self, batch: &mut Batch) -> Result<Vec<Call>, Full> {
        let stack = batch.bytes(&self.stack)?;
        let set = [stack.into(), 0_u64.into()];
        let stack = Call::new(libc::SYS_sigaltstack, set);
        let name = batch.bytes(&self.name)?;
        let set = [libc::PR_SET_NAME.into(), name.into()];
        let name = Call::new(libc::SYS_prctl, set);
        let cleared = self.cleared.map(u64::into);
        let cleared = cleared.map(|address| Call::new(libc::SYS_set_tid_address, [address]));
        Ok([stack, name].into_iter().chain(cleared).collect())
    }
}

/// The calls by which a thread tells what is its own.
struct Questions {
    batch: Batch,
    stack: Pointer,
    name: Pointer,
    cleared: Pointer,
    told: usize,
}

impl Questions {
    fn ask() -> Result<Self, Full> {
        let mut batch = Batch::new();
        let stack = batch.space(STACK_BYTES)?;
        let ask = [0_u64.into(), stack.into()];
        batch.call(Call::new(libc::SYS_sigaltstack, ask), Expect::Value(0));
        let name = batch.space(NAME_BYTES)?;
        let ask = [libc::PR_GET_NAME.into(), name.into()];
        batch.call(Call::new(libc::SYS_prctl, ask), Expect::Value(0));
        let cleared = batch.space(8)?;
        let ask = [libc::PR_GET_TID_ADDRESS.into(), cleared.into()];
        let told = batch.call(Call::new(libc::SYS_prctl, ask), Expect::Any);
        Ok(Self {
            batch,
            stack,
            name,
            cleared,
            told,
        })
    }

    fn read(&self, answers: &Answers) -> Own {
        let cleared = answers.bytes(self.cleared).try_into();
        let cleared = cleared.map(u64::from_ne_bytes).unwrap_or_default();
        Own {
            stack: answers.bytes(self.stack).try_into().unwrap_or_default(),
            name: answers.bytes(self.name).try_into().unwrap_or_default(),
            cleared: (answers.value(self.told) == Some(0)).then_some(cleared),
        }
    }
}

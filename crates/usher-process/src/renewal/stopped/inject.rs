//! Making the program call the kernel.
//!
//! ```text
//!  check mappings and text ─► bytes ─┬► table ─► registers ─► run to the int3 ─► answers ─┐
//!                                    └──────────── as long as calls are left ◄────────────┘
//! ```
//!
//! One round costs two switches of context and has room for at least 255 calls. The calls pass the
//! program's own system call filter. One that it hands to the platform (and so refuses) costs
//! another round trip, so batches should have none; it does not block, since whoever answers waits
//! for nothing that the tracer holds, and every round has an end ([`RUN_MAX_MS`]).

use super::agent::{Agent, BLANK, DATA_BYTES, DATA_RIGHTS, PAGE_BYTES, TEXT_RIGHTS};
use super::batch::{Answers, Argument, Batch, Call, Expect};
use super::errors::InjectError;
use super::home::frame_of;
use super::patience::{Patience, asked};
use super::{Stopped, Tid};
use crate::sys::trace::{self, Status};

/// How long one round of calls may take: memory of gigabytes is written by some.
const RUN_MAX_MS: u64 = 10_000;
/// One call in the table: its number and six arguments.
const ENTRY_BYTES: usize = 56;
/// One answer.
const ANSWER_BYTES: usize = 8;
/// Answers begin at a multiple of this.
const ALIGNED_TO: usize = 16;

impl Stopped {
    /// Lets the main thread make the calls of `batch`, any number of them, and checks every answer.
    /// All calls of a round are made before its answers are looked at.
    pub(crate) fn run(&mut self, agent: &Agent, batch: &Batch) -> Result<Answers, InjectError> {
        self.run_by(self.pid, agent, batch)
    }

    /// The same, by any one of the threads: for what the kernel keeps per thread.
    pub(crate) fn run_by(
        &mut self,
        thread: Tid,
        agent: &Agent,
        batch: &Batch,
    ) -> Result<Answers, InjectError> {
        if !self.threads.contains(&thread) {
            return Err(InjectError::Foreign { thread });
        }
        let is_odd = |other: Tid| other == thread || !self.threads.contains(&other);
        if let Some((other, _)) = batch.others.iter().find(|(other, _)| is_odd(*other)) {
            return Err(InjectError::Foreign { thread: *other });
        }
        self.ready(agent)?;
        // Bytes, and the calls of all threads, go there in one piece, and come back so.
        let mut bytes = batch.bytes.clone();
        let others = batch.others.iter();
        let others = others.map(|(other, calls)| Round::placed(&mut bytes, *other, calls, agent));
        let others: Vec<_> = others.collect();
        let behind = bytes.len().next_multiple_of(ALIGNED_TO);
        let room = (DATA_BYTES - behind) / (ANSWER_BYTES + ENTRY_BYTES);
        let (calls, expected): (Vec<_>, Vec<_>) = batch.calls.iter().copied().unzip();
        let mut left = calls.as_slice();
        let mut values = Vec::with_capacity(calls.len());
        let mut begun = others.as_slice();
        while !left.is_empty() || !begun.is_empty() {
            let (now, later) = left.split_at(room.min(left.len()));
            bytes.truncate(behind);
            let own = Round::placed(&mut bytes, thread, now, agent);
            let own = (!now.is_empty()).then_some(own);
            self.put_bytes(agent.data().start, &bytes)?;
            self.uses(bytes.len());
            for round in begun.iter().chain(&own) {
                self.start(round, agent)?;
            }
            for round in begun.iter().chain(&own) {
                self.end(round, agent)?;
            }
            self.get_bytes(agent.data().start, &mut bytes)?;
            for (round, (_, calls)) in begun.iter().zip(&batch.others) {
                judge(
                    0,
                    calls,
                    &vec![Expect::Ok; calls.len()],
                    &round.answers(&bytes, agent),
                )?;
            }
            if let Some(own) = own {
                let answers = own.answers(&bytes, agent);
                let expected = expected.get(values.len()..).unwrap_or_default();
                judge(values.len(), now, expected, &answers)?;
                values.extend(answers);
            }
            (left, begun) = (later, &[]);
        }
        bytes.truncate(batch.bytes.len());
        Ok(Answers { values, bytes })
    }

    /// Lets several threads make calls at the same time, each its own: for what the kernel keeps
    /// per thread. The calls may point to the bytes of `batch`, whose own calls are not made. No
    /// thread may be named twice.
    pub(crate) fn run_each(
        &mut self,
        agent: &Agent,
        batch: &Batch,
        each: &[(Tid, Vec<Call>)],
        expected: Expect,
    ) -> Result<(), InjectError> {
        if let Some((thread, _)) = each.iter().find(|(it, _)| !self.threads.contains(it)) {
            return Err(InjectError::Foreign { thread: *thread });
        }
        self.ready(agent)?;
        let room = DATA_BYTES.saturating_sub(batch.bytes.len());
        let mut left = each;
        while !left.is_empty() {
            let mut bytes = batch.bytes.clone();
            let mut rounds = Vec::new();
            for (thread, calls) in left {
                let more = calls.len() * (ANSWER_BYTES + ENTRY_BYTES) + ALIGNED_TO;
                if bytes.len() - batch.bytes.len() + more > room {
                    break;
                }
                rounds.push(Round::placed(&mut bytes, *thread, calls, agent));
            }
            if rounds.is_empty() {
                return Err(InjectError::Crowded);
            }
            self.put_bytes(agent.data().start, &bytes)?;
            self.uses(bytes.len());
            for round in &rounds {
                self.start(round, agent)?;
            }
            for round in &rounds {
                self.end(round, agent)?;
            }
            self.get_bytes(agent.data().start, &mut bytes)?;
            for (round, (_, calls)) in rounds.iter().zip(left) {
                let expected = vec![expected; calls.len()];
                judge(0, calls, &expected, &round.answers(&bytes, agent))?;
            }
            left = left.get(rounds.len()..).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes sure that the agent is ours and what it should be. All threads are stopped, and no
    /// other process has these pages, so it stays so until the program runs.
    pub(super) fn ready(&mut self, agent: &Agent) -> Result<(), InjectError> {
        if self.used.as_ref() == Some(agent) {
            return Ok(());
        }
        self.check(agent)?;
        let address = agent.text().start;
        let mut text = [0; PAGE_BYTES];
        self.get_bytes(address, &mut text)?;
        // To look is cheaper than to write, and what is as it should be needs no wiping.
        if text != BLANK {
            self.put_bytes(address, &BLANK)?;
            self.get_bytes(address, &mut text)?;
        }
        if text != BLANK {
            return Err(InjectError::Text { address });
        }
        self.used = Some(agent.clone());
        Ok(())
    }

    /// Looks at the mappings: the program may have unmapped, replaced or shared them.
    pub(super) fn check(&self, agent: &Agent) -> Result<(), InjectError> {
        let parts = [(agent.text(), TEXT_RIGHTS), (agent.data(), DATA_RIGHTS)];
        for (range, rights) in parts {
            let address = range.start;
            let found = trace::area(self.entry.maps(), address).map_err(InjectError::Maps)?;
            let ours = found.as_ref().is_some_and(|area| {
                area.range == range && area.rights == *rights && area.anonymous
            });
            if !ours {
                return Err(InjectError::Tampered { address, found });
            }
        }
        Ok(())
    }

    /// Lets a thread begin to make the calls of a round, which are in the agent's data.
    fn start(&mut self, round: &Round, agent: &Agent) -> Result<(), InjectError> {
        let thread = round.thread;
        let calls = round.calls as u64;
        let home = self.leave_home(thread)?;
        let text = agent.text().start;
        let frame = home
            .frame
            .running(text, round.table(), round.answers, calls);
        asked(
            "set the registers",
            thread,
            trace::set_general(thread, frame.0),
        )?;
        Ok(asked("make calls", thread, trace::go_on(thread, 0))?)
    }

    /// Waits until they are made.
    fn end(&mut self, round: &Round, agent: &Agent) -> Result<(), InjectError> {
        let Round { thread, calls, .. } = *round;
        let table = round.table();
        let status = Patience::new(RUN_MAX_MS).wait(thread)?;
        self.still_there(thread, status)?;
        let after = frame_of(thread)?;
        let end = table + (calls * ENTRY_BYTES) as u64;
        if status == Status::Signal(libc::SIGTRAP)
            && after.progress() == [agent.done(), end, table, 0]
        {
            return Ok(());
        }
        let [.., left] = after.progress();
        Err(InjectError::Stray {
            status,
            at: after.next(),
            made: calls.saturating_sub(usize::try_from(left).unwrap_or(usize::MAX)),
            calls,
        })
    }

    /// So many bytes of the agent's data are to be wiped.
    pub(super) fn uses(&mut self, bytes: usize) {
        self.used_bytes = self.used_bytes.max(bytes.min(DATA_BYTES));
    }

    pub(super) fn put_bytes(&self, address: u64, bytes: &[u8]) -> Result<(), InjectError> {
        let written = self.write(address, bytes);
        written.map_err(|source| InjectError::Memory { address, source })
    }

    fn get_bytes(&self, address: u64, into: &mut [u8]) -> Result<(), InjectError> {
        let read = self.read(address, into);
        read.map_err(|source| InjectError::Memory { address, source })
    }
}

/// Calls that a thread is to make.
struct Round {
    thread: Tid,
    calls: usize,
    /// Where their answers are, and behind those their table.
    answers: u64,
}

impl Round {
    /// Puts calls behind `bytes`, which are at the start of the agent's data.
    fn placed(bytes: &mut Vec<u8>, thread: Tid, calls: &[Call], agent: &Agent) -> Self {
        let at = bytes.len().next_multiple_of(ALIGNED_TO);
        bytes.resize(at + calls.len() * ANSWER_BYTES, 0);
        let entries = calls.iter().flat_map(|call| entry(call, agent));
        bytes.extend(entries.flat_map(u64::to_ne_bytes));
        Self {
            thread,
            calls: calls.len(),
            answers: agent.data().start + at as u64,
        }
    }

    /// Where the calls are.
    fn table(&self) -> u64 {
        self.answers + (self.calls * ANSWER_BYTES) as u64
    }

    /// What they answered, in the bytes that have come back.
    fn answers(&self, bytes: &[u8], agent: &Agent) -> Vec<i64> {
        let at = usize::try_from(self.answers - agent.data().start).unwrap_or(usize::MAX);
        let (words, _) = bytes.get(at..).unwrap_or_default().as_chunks();
        let words = words.iter().take(self.calls).copied();
        words.map(i64::from_ne_bytes).collect()
    }
}

/// Whether calls, of which the first has this `place`, have answered as they should.
fn judge(
    place: usize,
    calls: &[Call],
    expected: &[Expect],
    answers: &[i64],
) -> Result<(), InjectError> {
    for (at, call) in calls.iter().enumerate() {
        let pair = answers.get(at).copied().zip(expected.get(at).copied());
        let (answer, expected) = pair.unwrap_or((i64::MIN, Expect::Ok));
        if !expected.holds(answer) {
            return Err(InjectError::Answer {
                place: place + at,
                number: call.number,
                answer,
                expected,
            });
        }
    }
    Ok(())
}

/// A call as the agent's text reads it.
fn entry(call: &Call, agent: &Agent) -> [u64; ENTRY_BYTES / 8] {
    let [a, b, c, d, e, f] = call.arguments.map(|argument| match argument {
        Argument::Value(value) => value,
        Argument::At(pointer) => pointer.address(agent),
    });
    let number = u64::from_ne_bytes(call.number.to_ne_bytes());
    [number, a, b, c, d, e, f]
}

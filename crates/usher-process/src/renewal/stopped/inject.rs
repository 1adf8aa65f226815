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
        self.ready(agent)?;
        let data = agent.data().start;
        self.put_bytes(data, &batch.bytes)?;
        self.uses(batch.bytes.len() as u64);
        let answers_at = batch.bytes.len().next_multiple_of(ALIGNED_TO);
        let room = (DATA_BYTES - answers_at) / (ANSWER_BYTES + ENTRY_BYTES);
        let mut values = Vec::with_capacity(batch.calls.len());
        for round in batch.calls.chunks(room) {
            let calls: Vec<Call> = round.iter().map(|(call, _)| *call).collect();
            let answers = data + answers_at as u64;
            let fresh = self.round(thread, agent, answers, &calls)?;
            for (answer, (call, expected)) in fresh.iter().zip(round) {
                if !expected.holds(*answer) {
                    return Err(InjectError::Answer {
                        place: values.len(),
                        number: call.number,
                        answer: *answer,
                        expected: *expected,
                    });
                }
                values.push(*answer);
            }
        }
        let mut bytes = batch.bytes.clone();
        if batch.written {
            self.get_bytes(data, &mut bytes)?;
        }
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
        let data = agent.data();
        self.put_bytes(data.start, &batch.bytes)?;
        self.uses(batch.bytes.len() as u64);
        let begin = data.start + batch.bytes.len().next_multiple_of(ALIGNED_TO) as u64;
        let mut left = each;
        while !left.is_empty() {
            let mut at = begin;
            let mut rounds = Vec::new();
            for (thread, calls) in left {
                let end = at + (calls.len() * (ANSWER_BYTES + ENTRY_BYTES)) as u64;
                if end > data.end {
                    break;
                }
                rounds.push((self.begin(*thread, agent, at, calls)?, calls));
                at = end.next_multiple_of(ALIGNED_TO as u64);
            }
            if rounds.is_empty() {
                return Err(InjectError::Crowded);
            }
            left = left.get(rounds.len()..).unwrap_or_default();
            for (round, calls) in rounds {
                let answers = self.finish(&round, agent)?;
                for (place, (answer, call)) in answers.iter().zip(calls).enumerate() {
                    if !expected.holds(*answer) {
                        return Err(InjectError::Answer {
                            place,
                            number: call.number,
                            answer: *answer,
                            expected,
                        });
                    }
                }
            }
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

    /// Makes `calls`; their answers and after them their table are put at `answers`.
    fn round(
        &mut self,
        thread: Tid,
        agent: &Agent,
        answers: u64,
        calls: &[Call],
    ) -> Result<Vec<i64>, InjectError> {
        let round = self.begin(thread, agent, answers, calls)?;
        self.finish(&round, agent)
    }

    /// Lets a thread begin to make calls.
    fn begin(
        &mut self,
        thread: Tid,
        agent: &Agent,
        answers: u64,
        calls: &[Call],
    ) -> Result<Round, InjectError> {
        let len = calls.len() as u64;
        let table = answers + len * ANSWER_BYTES as u64;
        let entries = calls.iter().flat_map(|call| entry(call, agent));
        let entries: Vec<u8> = entries.flat_map(u64::to_ne_bytes).collect();
        self.put_bytes(table, &entries)?;
        self.uses(table + entries.len() as u64 - agent.data().start);

        let home = self.leave_home(thread)?;
        let frame = home.frame.running(agent.text().start, table, answers, len);
        asked(
            "set the registers",
            thread,
            trace::set_general(thread, frame.0),
        )?;
        asked("make calls", thread, trace::go_on(thread, 0))?;
        Ok(Round {
            thread,
            calls: calls.len(),
            answers,
        })
    }

    /// Waits until they are made.
    fn finish(&mut self, round: &Round, agent: &Agent) -> Result<Vec<i64>, InjectError> {
        let Round {
            thread,
            calls,
            answers,
        } = *round;
        let table = answers + (calls * ANSWER_BYTES) as u64;
        let status = Patience::new(RUN_MAX_MS).wait(thread)?;
        self.still_there(thread, status)?;
        let after = frame_of(thread)?;
        let end = table + (calls * ENTRY_BYTES) as u64;
        if status != Status::Signal(libc::SIGTRAP)
            || after.progress() != [agent.done(), end, table, 0]
        {
            let [.., left] = after.progress();
            return Err(InjectError::Stray {
                status,
                at: after.next(),
                made: calls.saturating_sub(usize::try_from(left).unwrap_or(usize::MAX)),
                calls,
            });
        }
        let mut bytes = vec![0; calls * ANSWER_BYTES];
        self.get_bytes(answers, &mut bytes)?;
        let (words, _) = bytes.as_chunks();
        Ok(words.iter().copied().map(i64::from_ne_bytes).collect())
    }

    /// So many bytes of the agent's data are to be wiped.
    fn uses(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).map_or(DATA_BYTES, |bytes| bytes.min(DATA_BYTES));
        self.used_bytes = self.used_bytes.max(bytes);
    }

    fn put_bytes(&self, address: u64, bytes: &[u8]) -> Result<(), InjectError> {
        let written = self.write(address, bytes);
        written.map_err(|source| InjectError::Memory { address, source })
    }

    fn get_bytes(&self, address: u64, into: &mut [u8]) -> Result<(), InjectError> {
        let read = self.read(address, into);
        read.map_err(|source| InjectError::Memory { address, source })
    }
}

/// Calls that a thread is making.
struct Round {
    thread: Tid,
    calls: usize,
    answers: u64,
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

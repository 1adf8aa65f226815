//! Mapping the agent into a program that has none.
//!
//! The first calls are made by an instruction of the vDSO, one step each: nothing of the program
//! is written for it, so that no page of its own becomes a private copy.

use std::fs;

use super::agent::{Agent, BLANK, WHOLE_BYTES};
use super::batch::Expect;
use super::errors::InjectError;
use super::frame::{SYSCALL, Waited};
use super::home::frame_of;
use super::patience::{Patience, asked};
use super::{Stopped, Tid};
use crate::sys::trace::{self, Status};

/// How long one call may take.
const STEP_MAX_MS: u64 = 2000;
/// More than any vDSO has.
const VDSO_MAX_BYTES: u64 = 64 * 1024;
/// Protections of `mmap`.
const NONE: u64 = 0;
const READ: u64 = 1;
const WRITE: u64 = 2;
const EXECUTE: u64 = 4;
/// `MAP_PRIVATE | MAP_ANONYMOUS`
const PRIVATE: u64 = 0x22;
/// `MAP_FIXED_NOREPLACE`
const FREE: u64 = 0x10_0000;

impl Stopped {
    /// Maps the agent into the program. Once per program: later stops use the same agent.
    pub(crate) fn install(&mut self) -> Result<Agent, InjectError> {
        self.install_where([0, WHOLE_BYTES, NONE, PRIVATE, u64::MAX, 0], Expect::Ok)
    }

    /// Maps it to where it is in another program. An error if something is there.
    pub(crate) fn install_as(&mut self, other: &Agent) -> Result<Agent, InjectError> {
        let start = other.range().start;
        let whole = [start, WHOLE_BYTES, NONE, PRIVATE | FREE, u64::MAX, 0];
        self.install_where(whole, Expect::Value(start.cast_signed()))
    }

    fn install_where(&mut self, whole: [u64; 6], there: Expect) -> Result<Agent, InjectError> {
        let at = self.vdso_call()?;
        let start = self.step_call(at, libc::SYS_mmap, whole, there)?;
        let agent = Agent::at(start);
        let (text, data) = (agent.text(), agent.data());
        for (range, rights) in [(text, READ | EXECUTE), (data, READ | WRITE)] {
            let arguments = [range.start, range.end - range.start, rights, 0, 0, 0];
            self.step_call(at, libc::SYS_mprotect, arguments, Expect::Value(0))?;
        }
        let address = agent.text().start;
        let written = self.write(address, &BLANK);
        written.map_err(|source| InjectError::Memory { address, source })?;
        self.check(&agent)?;
        Ok(agent)
    }

    /// Finds an instruction that calls the kernel in what the kernel itself has mapped.
    fn vdso_call(&self) -> Result<u64, InjectError> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid));
        let maps = maps.map_err(InjectError::Maps)?;
        let vdso = maps.lines().find(|line| line.ends_with("[vdso]"));
        let range = vdso.and_then(|line| line.split_once(' ')?.0.split_once('-'));
        let number = |text| u64::from_str_radix(text, 16).ok();
        let range = range.and_then(|(start, end)| Some(number(start)?..number(end)?));
        let range = range.ok_or(InjectError::NoVdso)?;
        let bytes = (range.end - range.start).min(VDSO_MAX_BYTES);
        let mut code = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let read = self.read(range.start, &mut code);
        read.map_err(|source| InjectError::Memory {
            address: range.start,
            source,
        })?;
        let mut places = code.windows(SYSCALL.len());
        let found = places.position(|bytes| bytes == SYSCALL);
        let offset = found.ok_or(InjectError::NoVdso)?;
        Ok(range.start + offset as u64)
    }

    /// Lets the main thread make one call with the instruction at `at`.
    fn step_call(
        &mut self,
        at: u64,
        number: i64,
        arguments: [u64; 6],
        expected: Expect,
    ) -> Result<u64, InjectError> {
        let main = self.pid;
        let home = self.leave_home(main)?;
        let frame = home.frame.calling(at, number, arguments);
        asked("set the registers", main, trace::set_general(main, frame.0))?;
        asked("run a step", main, trace::step(main))?;
        let status = Patience::new(STEP_MAX_MS).wait(main)?;
        self.still_there(main, status)?;
        let after = frame_of(main)?;
        let there = after.next() == at + SYSCALL.len() as u64;
        if status != Status::Signal(libc::SIGTRAP) || !there || after.waited() != Waited::No {
            return Err(InjectError::Stray {
                status,
                at: after.next(),
                made: 0,
                calls: 1,
            });
        }
        let answer = after.answer();
        match u64::try_from(answer) {
            Ok(value) if expected.holds(answer) => Ok(value),
            _ => Err(InjectError::Answer {
                place: 0,
                number,
                answer,
                expected,
            }),
        }
    }

    /// A thread that has ended can be asked for nothing.
    pub(super) fn still_there(&self, thread: Tid, status: Status) -> Result<(), InjectError> {
        match status {
            Status::Ended => Err(super::TraceError::Ended {
                thread,
                what: "make calls",
            }
            .into()),
            _ => Ok(()),
        }
    }
}

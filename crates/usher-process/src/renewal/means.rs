//! What the machine gives for putting programs back, found out by doing it to a process of ours
//! that is confined as programs are.
//!
//! Deliberately absent: trust in version numbers and in what is configured; making that process
//! (`crate::sandbox`); what is done without a means, which is that programs are replaced.

use std::fs;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use usher_core::renewal::choice;

use super::memory::{self, Memory, Wanted};
use super::stopped::{Agent, Alone, Batch, Call, Expect, Registers, Stopped};
use crate::cause::chain;
use crate::sys::handles;
use crate::sys::pages::Way;

/// What was found: each an error where it does not work.
#[derive(Debug)]
pub(crate) struct Means {
    /// A program is stopped, its registers are read, and it makes calls for us.
    pub(crate) tracing: Result<(), String>,
    /// How its written memory is found.
    pub(crate) written: Result<Written, String>,
    /// Its descriptors can be duplicated.
    pub(crate) held: Result<(), String>,
    /// Two descriptors can be told to be one open file.
    pub(crate) compared: Result<(), String>,
    /// Its memory can be swapped, and shown to be in other frames then.
    pub(crate) swapped: Result<(), String>,
}

/// How written memory is found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Written {
    /// By the kernel's scan, and not page by page.
    pub(crate) scanned: bool,
    /// Mappings are asked for one by one, and not read as a list.
    pub(crate) mappings_asked: bool,
}

impl Means {
    /// Nothing could be tried, for this reason.
    pub(crate) fn none(why: &str) -> Self {
        let without = || Err(why.to_owned());
        Self {
            tracing: without(),
            written: Err(why.to_owned()),
            held: without(),
            compared: without(),
            swapped: without(),
        }
    }

    /// Tries all of it. Blocks, and kills the process.
    pub(crate) fn of(victim: Pid) -> Self {
        let held = held(victim);
        let compared = held.as_ref().map_err(said).and_then(|held| {
            let told = compared(victim, held).map_err(|error| error.to_string())?;
            told.then_some(())
                .ok_or_else(|| "two open files are told to be one".to_owned())
        });
        // This one kills it.
        let (tracing, swapped) = match traced(victim) {
            Ok(swapped) => (Ok(()), swapped),
            Err(why) => (Err(why.clone()), Err(why)),
        };
        Self {
            compared,
            held: held.map(|_| ()).map_err(|error| said(&error)),
            written: written(),
            tracing,
            swapped,
        }
    }
}

fn said(error: &io::Error) -> String {
    error.to_string()
}

/// One of its descriptors, and our duplicate of that.
fn held(victim: Pid) -> io::Result<(RawFd, OwnedFd)> {
    let names = fs::read_dir(format!("/proc/{}/fd", victim.as_raw_nonzero()))?;
    let names = names.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let number = names.filter_map(|name| name.parse::<RawFd>().ok()).min();
    let number = number.ok_or_else(|| io::Error::other("it has no descriptor"))?;
    let pidfd = pidfd_open(victim, PidfdFlags::empty())?;
    let twin = pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty())?;
    Ok((number, twin))
}

/// Whether the duplicate is told to be the same, and another file is not.
fn compared(victim: Pid, (number, twin): &(RawFd, OwnedFd)) -> io::Result<bool> {
    let other = fs::File::open("/proc/self/status")?;
    let same = handles::same_file(victim, *number, twin)?;
    Ok(same && !handles::same_file(victim, *number, &other)?)
}

fn written() -> Result<Written, String> {
    let found = memory::means();
    let way = found
        .pages
        .ok_or("no way of the kernel's tells it rightly")?;
    Ok(Written {
        scanned: way == Way::Scan,
        mappings_asked: found.mappings_asked,
    })
}

/// Stops it, has it say its own number, swaps its memory, and kills it. The inner result is that of
/// the swap.
fn traced(victim: Pid) -> Result<Result<(), String>, String> {
    let mut stopped = Stopped::stop(victim).map_err(|error| chain(&error))?;
    let registers = stopped.registers().map_err(|error| chain(&error))?;
    let agent = stopped.install().map_err(|error| chain(&error))?;
    let mut batch = Batch::new();
    batch.call(Call::new(libc::SYS_getpid, [0_u64.into(); 6]), Expect::Ok);
    let answers = stopped.run(&agent, &batch);
    answers.map_err(|error| chain(&error))?;
    let put = stopped.put_registers(&registers);
    put.map_err(|error| chain(&error))?;
    Ok(swapped(stopped, &agent, &registers))
}

/// Records its memory, lets it go on, swaps its memory, and looks where it is then.
fn swapped(mut stopped: Stopped, agent: &Agent, registers: &Registers) -> Result<(), String> {
    let victim = stopped.pid();
    let memory = Memory::take(&mut stopped, agent);
    let mut memory = memory.map_err(|error| chain(&error))?;
    let put = stopped.put_registers(registers);
    put.map_err(|error| chain(&error))?;
    stopped.resume().map_err(|error| chain(&error))?;
    let stopped = Stopped::stop(victim);
    let stopped = &mut stopped.map_err(|error| chain(&error))?;
    let mut batch = Batch::new();
    let wanted = Wanted::Way(choice::Way::Swap);
    let planned = memory.plan(stopped, agent, &mut batch, wanted);
    let mut planned = planned.map_err(|error| chain(&error))?;
    if planned.way() != choice::Way::Swap {
        return Err("an empty sandbox has pages that cannot be exchanged".to_owned());
    }
    let answers = stopped.run(agent, &batch);
    let answers = answers.map_err(|error| chain(&error))?;
    let aside = memory.swap(stopped, agent, &mut planned, &answers, &Alone::seen());
    let _aside = aside.map_err(|error| chain(&error))?;
    let done = memory.done(stopped, planned);
    done.map(drop).map_err(|error| chain(&error))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_of_ours_is_stopped_and_has_one_file_that_is_another() {
        let mut cat = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&cat);
        let means = Means::of(pid);
        assert_eq!(means.tracing, Ok(()));
        assert_eq!(means.held, Ok(()));
        assert_eq!(means.compared, Ok(()));
        assert!(means.written.is_ok());
        // It was killed, and whoever traced it has been told: nobody is there any more.
        assert!(cat.wait().is_err());
        let means = Means::of(pid);
        assert!(means.tracing.is_err() && means.held.is_err() && means.compared.is_err());
    }
}
